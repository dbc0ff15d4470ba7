import numpy as np
import pytest

from reprise.errors import ConfigError
from reprise.evaluation.stats import bootstrap
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_value_is_the_ratio_of_the_sums():
    """3 of 4 targets and 0 of 2: 3 / 6, not the mean of 3 / 4 and 0."""
    [interval] = Bootstrap().intervals(column(3.0, 0.0), np.array([4, 2]))
    assert interval.value == 3 / 6


def test_same_seed_same_interval():
    sums, counts = np.random.default_rng(0).random((30, 2)), np.full(30, 2)
    assert Bootstrap(seed=4).intervals(sums, counts) == Bootstrap(seed=4).intervals(sums, counts)
    assert Bootstrap(seed=4).intervals(sums, counts) != Bootstrap(seed=5).intervals(sums, counts)


def test_blocks_change_nothing(monkeypatch):
    """The draws are the same whether they are made at once or one resample at a time."""
    sums, counts = np.random.default_rng(0).random((30, 2)), np.arange(1, 31)
    whole = Bootstrap(resamples=50).intervals(sums, counts)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 1)
    for mine, theirs in zip(Bootstrap(resamples=50).intervals(sums, counts), whole, strict=True):
        assert mine == pytest.approx(theirs)


def test_equal_sequences_leave_no_doubt():
    assert Bootstrap().intervals(column(1.0, 1.0, 1.0), np.array([2, 2, 2])) == [(0.5, 0.5, 0.5)]


def test_width_of_the_normal_approximation():
    """400 coins: the 95 % interval of their mean is about 2 * 1.96 * 0.5 / 20 wide."""
    coins = column(*[0.0, 1.0] * 200)
    [interval] = Bootstrap(resamples=4000).intervals(coins, np.ones(400))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """90 % intervals of 60 sequences whose targets are correlated; the true rate is 0.3."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        rate_S = generator.beta(0.6, 1.4, size=60)
        count_S = generator.integers(1, 20, size=60)
        sums = generator.binomial(count_S, rate_S).astype(float)[:, None]
        [interval] = Bootstrap(resamples=200, level=0.9).intervals(sums, count_S)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.83 <= covered / 300 <= 0.95


def test_sequences_are_drawn_not_targets():
    """10 users with 100 equal targets each: as uncertain as 10 targets, not as 1,000."""
    [users] = Bootstrap().intervals(column(*[0.0, 100.0] * 5), np.full(10, 100))
    [single] = Bootstrap().intervals(column(*[0.0, 1.0] * 5), np.ones(10))
    assert users == single


def test_no_resamples_no_interval():
    assert Bootstrap(resamples=0).intervals(column(1.0, 0.0), np.ones(2)) == [Interval(0.5)]


def test_one_sequence_has_no_interval():
    assert Bootstrap().intervals(column(1.0), np.array([4])) == [Interval(1 / 4)]


def test_interval_in_words():
    assert str(Interval(0.25, 0.2, 0.3)) == "0.2500 [0.2000, 0.3000]"
    assert str(Interval(0.25)) == "0.2500"


def test_ratios_together_are_those_alone():
    """The same draws for the whole, for a part of the sequences, and for their difference."""
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


def test_resamples_without_a_sequence_of_a_part_are_left_out():
    """Two sequences of 40 are both missed by one resample in eight; the others say 0, 1 or what lies between."""
    ratio = Ratio(column(0.0, 3.0), np.array([3, 3]), np.array([4, 30]))
    bootstrap = Bootstrap(resamples=400)
    [drawn] = bootstrap.resampled(40, [ratio])
    assert 0.08 < np.isnan(drawn).mean() < 0.18
    assert bootstrap.together(40, [ratio]) == [[(0.5, 0.0, 1.0)]]
    assert Bootstrap(resamples=1, seed=1).together(40, [ratio])[0][0].value == 0.5


def test_differences_in_words_and_turned():
    assert Interval(0.25, 0.2, 0.3).signed() == "+0.2500 [+0.2000, +0.3000]"
    assert -Interval(0.25, 0.2, 0.3) == (-0.25, -0.3, -0.2)
    assert (-Interval(0.25)).signed() == "-0.2500"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": -1}, "resamples must be 0 (no intervals) or more, got -1"),
        ({"level": 95}, "level must lie between 0 and 1, got 95; 0.95 is usual"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigError) as error:
        Bootstrap(**options)
    assert str(error.value) == message
