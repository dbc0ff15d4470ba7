import numpy as np

from reprise.training.private.secret_noise import SecretNoise


def test_noise_is_standard_normal() -> None:
    noise_N = SecretNoise(bytes(32)).normal("noise", (200_000,))
    assert abs(noise_N.mean()) < 4 / 200_000**0.5
    assert abs(noise_N.std() - 1) < 4 / 400_000**0.5
    assert abs((noise_N**4).mean() - 3) < 4 * (96 / 200_000) ** 0.5
    assert abs(np.corrcoef(noise_N[1:], noise_N[:-1])[0, 1]) < 4 / 200_000**0.5


def test_uniform_numbers_fill_their_interval() -> None:
    uniform_N = SecretNoise(bytes(32)).uniform("choice", (100_000,))
    assert uniform_N.min() >= 0 and uniform_N.max() < 1
    assert np.allclose(np.histogram(uniform_N, 10, (0, 1))[0], 10_000, atol=4 * 95)


def test_a_stream_repeats_and_differs_from_others() -> None:
    noise = SecretNoise(b"s" * 32)
    assert np.array_equal(noise.normal("a", (3, 5)), SecretNoise(b"s" * 32).normal("a", (3, 5)))
    assert not np.array_equal(noise.normal("a", (15,)), noise.normal("b", (15,)))
    assert not np.array_equal(noise.normal("a", (15,)), SecretNoise(b"t" * 32).normal("a", (15,)))


def test_two_draws_differ_and_the_seed_is_not_shown() -> None:
    first = SecretNoise.draw()
    assert len(first.secret) == 32 and first.secret != SecretNoise.draw().secret
    assert repr(first) == "SecretNoise()"
