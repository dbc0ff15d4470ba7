import numpy as np
import pytest

from reprise.errors import ConfigError
from reprise.evaluation.stats import bootstrap
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_the_value_is_the_ratio_of_the_sums():
    """3 of 4 targets and 0 of 2: 3 / 6, not the mean of 3 / 4 and 0."""
    [interval] = Bootstrap().intervals(column(3.0, 0.0), np.array([4, 2]))
    assert interval.value == 3 / 6


def test_equal_seeds_give_equal_intervals():
    sums, counts = np.random.default_rng(0).random((30, 2)), np.full(30, 2)
    assert Bootstrap(seed=4).intervals(sums, counts) == Bootstrap(seed=4).intervals(sums, counts)
    assert Bootstrap(seed=4).intervals(sums, counts) != Bootstrap(seed=5).intervals(sums, counts)


def test_intervals_do_not_depend_on_the_block_size(monkeypatch):
    """The resamples are the same if they are drawn in one block or one at a time."""
    sums, counts = np.random.default_rng(0).random((30, 2)), np.arange(1, 31)
    whole = Bootstrap(resamples=50).intervals(sums, counts)
    monkeypatch.setattr(bootstrap, "MAX_DRAWS", 1)
    for mine, theirs in zip(Bootstrap(resamples=50).intervals(sums, counts), whole, strict=True):
        assert mine == pytest.approx(theirs)


def test_equal_sequences_have_an_interval_of_width_zero():
    assert Bootstrap().intervals(column(1.0, 1.0, 1.0), np.array([2, 2, 2])) == [(0.5, 0.5, 0.5)]


def test_the_width_agrees_with_the_normal_approximation():
    """400 coins: the 95 % interval of their mean is about 2 * 1.96 * 0.5 / 20 wide."""
    coins = column(*[0.0, 1.0] * 200)
    [interval] = Bootstrap(resamples=4000).intervals(coins, np.ones(400))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)


def test_intervals_cover_the_true_value_at_their_level():
    """90 % intervals of 60 sequences with correlated targets; the true rate is 0.3."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        rate_S = generator.beta(0.6, 1.4, size=60)
        count_S = generator.integers(1, 20, size=60)
        sums = generator.binomial(count_S, rate_S).astype(float)[:, None]
        [interval] = Bootstrap(resamples=200, level=0.9).intervals(sums, count_S)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.83 <= covered / 300 <= 0.95


def test_sequences_are_resampled_not_targets():
    """10 users with 100 equal targets each: as uncertain as 10 targets, not as 1,000."""
    [users] = Bootstrap().intervals(column(*[0.0, 100.0] * 5), np.full(10, 100))
    [single] = Bootstrap().intervals(column(*[0.0, 1.0] * 5), np.ones(10))
    assert users == single


def test_zero_resamples_give_no_interval():
    assert Bootstrap(resamples=0).intervals(column(1.0, 0.0), np.ones(2)) == [Interval(0.5)]


def test_one_sequence_has_no_interval():
    assert Bootstrap().intervals(column(1.0), np.array([4])) == [Interval(1 / 4)]


def test_intervals_are_formatted_with_four_digits():
    assert str(Interval(0.25, 0.2, 0.3)) == "0.2500 [0.2000, 0.3000]"
    assert str(Interval(0.25)) == "0.2500"


def test_ratios_together_equal_those_alone():
    """All sequences, and some of them, from the same resamples."""
    generator = np.random.default_rng(0)
    sums, counts = generator.random((40, 2)), generator.integers(1, 9, 40)
    place = np.arange(0, 40, 3)
    bootstrap = Bootstrap(resamples=200)
    whole, part = bootstrap.together(40, [Ratio(sums, counts), Ratio(sums[place], counts[place], place)])
    assert whole == bootstrap.intervals(sums, counts)
    masked = np.zeros(40)
    masked[place] = 1
    [same] = bootstrap.together(40, [Ratio(sums * masked[:, None], counts * masked)])
    assert [tuple(it) for it in part] == [pytest.approx(tuple(it)) for it in same]


def test_resamples_without_any_of_the_sequences_are_left_out():
    """One resample in eight draws neither of two sequences out of 40; the others give values between 0 and 1."""
    ratio = Ratio(column(0.0, 3.0), np.array([3, 3]), np.array([4, 30]))
    bootstrap = Bootstrap(resamples=400)
    [drawn] = bootstrap.resampled(40, [ratio])
    assert 0.08 < np.isnan(drawn).mean() < 0.18
    assert bootstrap.together(40, [ratio]) == [[(0.5, 0.0, 1.0)]]
    assert Bootstrap(resamples=1, seed=1).together(40, [ratio])[0][0].value == 0.5


def test_signed_and_negative_differences():
    assert Interval(0.25, 0.2, 0.3).signed() == "+0.2500 [+0.2000, +0.3000]"
    assert -Interval(0.25, 0.2, 0.3) == (-0.25, -0.3, -0.2)
    assert (-Interval(0.25)).signed() == "-0.2500"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": -1}, "resamples must be at least 0, got -1; 0 computes no intervals"),
        ({"level": 95}, "level must lie between 0 and 1, got 95; 0.95 is usual"),
    ],
)
def test_invalid_settings_are_errors(options, message):
    with pytest.raises(ConfigError) as error:
        Bootstrap(**options)
    assert str(error.value) == message
