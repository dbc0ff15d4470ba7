import numpy as np
import pytest

from reprise.arrays import Float64Array
from reprise.testing import worlds
from reprise.training.private.gram_release import (
    _symmetric,
    counts_of,
    item_vectors,
    release_items,
    similarities_of,
)
from reprise.training.private.secret_noise import SecretNoise
from reprise.training.private.user_events import UserEvents, last_events

ITEMS = 12


def log(*histories: list[int]) -> UserEvents:
    lengths = [len(history) for history in histories]
    return UserEvents(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([item for history in histories for item in history], dtype=np.int64),
    )


def silence(stream: str, shape: tuple[int, ...]) -> Float64Array:
    return np.zeros(shape)


def histories(users: int = 30) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, ITEMS + 1, generator.integers(1, 40)).tolist() for _ in range(users)]


def test_a_user_counts_one_over_the_root_of_its_items() -> None:
    assert counts_of(log([1, 2, 2, 1, 4], [4]), 5) == pytest.approx([3**-0.5, 3**-0.5, 0, 3**-0.5 + 1, 0])


def test_a_user_changes_the_counts_by_one() -> None:
    everyone = histories()
    for user in range(len(everyone)):
        others = everyone[:user] + everyone[user + 1 :]
        change_I = counts_of(log(*everyone), ITEMS) - counts_of(log(*others), ITEMS)
        assert np.linalg.norm(change_I) == pytest.approx(1)


def test_a_user_changes_the_similarities_by_one() -> None:
    """Long and short histories, and one of a single item, change the matrix by a Frobenius norm of 1, never more."""
    everyone = [[item - 1 for item in history] for history in [*histories(), [3], [5] * 50]]
    weight_K = np.linspace(0.2, 3, ITEMS)
    whole_KK = similarities_of(log(*everyone), weight_K)
    for user in range(len(everyone)):
        others = everyone[:user] + everyone[user + 1 :]
        change_KK = whole_KK - similarities_of(log(*others), weight_K)
        assert np.linalg.norm(change_KK) == pytest.approx(1)


def test_near_items_are_more_similar_than_far_ones() -> None:
    gram_KK = similarities_of(log([0, 1, 2]), np.ones(3))
    # the weights are 1 on the diagonal, 1 at the distance 1 and 2^-1/2 at the distance 2; each counts in the norm
    norm = (3 + 2 * (1 + 1 + 0.5)) ** 0.5
    assert gram_KK * norm == pytest.approx(np.array([[1, 1, 0.5**0.5], [1, 1, 1], [0.5**0.5, 1, 1]]))


def test_users_are_counted_alike_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    events = log(*[[item - 1 for item in history] for history in histories()])
    together_KK = similarities_of(events, np.ones(ITEMS))
    monkeypatch.setattr("reprise.training.private.gram_release.USERS_PER_BLOCK", 7)
    assert similarities_of(events, np.ones(ITEMS)) == pytest.approx(together_KK)


def test_a_user_without_kept_items_adds_nothing() -> None:
    assert not similarities_of(log([], []), np.ones(3)).any()
    assert not counts_of(log([], []), 3).any()


def test_noise_on_a_pair_has_half_the_variance_of_the_diagonal() -> None:
    """An entry off the diagonal occurs twice, so the noise is that of a vector of diagonal and root-2-scaled pairs."""
    noise_KK = _symmetric(SecretNoise(bytes(32)).normal, 500)
    assert np.array_equal(noise_KK, noise_KK.T)
    above_P = noise_KK[np.triu_indices(500, 1)]
    assert above_P.std() == pytest.approx(0.5**0.5, rel=4 / (2 * len(above_P)) ** 0.5)
    assert np.diag(noise_KK).std() == pytest.approx(1, rel=4 / 1000**0.5)


def test_noise_is_added_to_items_without_a_user() -> None:
    released = release_items(log([1, 2, 3]), 2000, 700, 8, 2.0, SecretNoise(bytes(32)).normal)
    unseen_I = released.count_I[3:]
    assert unseen_I.std() == pytest.approx(2 * 0.2**-0.5, rel=0.1) and len(unseen_I) == 1997


def test_items_with_the_highest_counts_are_kept() -> None:
    released = release_items(log([1, 5], [5, 2], [5, 2], [5, 2, 9]), 10, 2, 4, 0.1, silence)
    assert released.kept_K.tolist() == [4, 1]


def test_vectors_separate_groups_of_items() -> None:
    generator = np.random.default_rng(0)
    users = [(generator.integers(1, 7, 20) + 6 * (user % 2)).tolist() for user in range(200)]
    released = release_items(log(*users), ITEMS, ITEMS, 4, 0.5, SecretNoise(bytes(32)).normal)
    group_K = released.kept_K >= 6
    score_KK = released.input_KD @ released.output_KD.T
    same_KK = group_K[:, None] == group_K
    assert score_KK[same_KK].min() > score_KK[~same_KK].max()


def test_pure_noise_gives_no_direction() -> None:
    """All eigenvalues of noise are within its edge, up to a fluctuation that decays with the size."""
    noise_KK = 3.0 * _symmetric(SecretNoise(bytes(32)).normal, 400)
    assert (np.abs(item_vectors(noise_KK * 0.95, 3.0, 8)) == 0).all()


def test_a_clear_direction_survives_the_noise() -> None:
    direction_K = np.ones(100) / 10
    noisy_KK = 200 * np.outer(direction_K, direction_K) + _symmetric(SecretNoise(bytes(32)).normal, 100)
    vector_KD = item_vectors(noisy_KK, 1.0, 4)
    assert abs(direction_K @ vector_KD[:, 0]) > 0.99


def test_a_width_above_the_number_of_items_leaves_zeros() -> None:
    assert item_vectors(np.eye(3), 0.1, 5).shape == (3, 5)
    assert not item_vectors(np.eye(3), 0.1, 5)[:, 3:].any()


def test_only_the_last_training_events_are_read() -> None:
    data = worlds.world([["a", "b", "c", "d", "e", "f"], ["a", "c", "x", "y"], ["b", "z", "z"]])
    events = last_events(data, 3)
    ids = [
        data.items.item_ids(events.item_E[a:b])
        for a, b in zip(events.start[:-1], events.start[1:], strict=True)
    ]
    assert ids == [["b", "c", "d"], ["a", "c"], ["b"]]


def test_items_without_a_vector_are_left_out_after_the_limit() -> None:
    data = worlds.world([["a", "b", "c", "d", "v", "t"]])
    events = last_events(data, 3)
    kept = events.select(events.item_E != data.items.index("c"), events.item_E)
    assert data.items.item_ids(kept.item_E) == ["b", "d"]
