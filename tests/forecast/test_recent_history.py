"""The end of a history as a forecast reads it."""

import numpy as np

from reprise.forecast.recent_history import NO_KIND, WINDOW, RecentHistory, feature_count

NAN = float("nan")


def test_the_last_events_before_a_position_do_not_cross_the_start_of_the_history() -> None:
    item, kind, time_s = np.array([7, 7, 8, 8]), np.array([0, 1, 1, 0]), np.array([5.0, 6.0, 100.0, 103.0])
    found = RecentHistory.before(np.array([2, 4]), np.array([0, 2]), item, kind, time_s)
    assert found.events_N.tolist() == [2, 2]
    assert found.kind_NW[:, -3:].tolist() == [[NO_KIND, 0, 1], [NO_KIND, 1, 0]]
    assert np.array_equal(found.gap_s_NW[:, -2:], [[NAN, 1.0], [NAN, 3.0]], equal_nan=True)
    assert found.same_item_NW[:, -2:].tolist() == [[False, True], [False, True]]


def test_one_history_gives_the_same_as_its_place_in_a_log() -> None:
    generator = np.random.default_rng(0)
    item, kind = generator.integers(4, size=50), generator.integers(3, size=50)
    time_s = generator.integers(3, size=50).cumsum().astype(float)
    alone = RecentHistory.of_events(item[10:], kind[10:], time_s[10:])
    inside = RecentHistory.before(np.array([50]), np.array([10]), item, kind, time_s)
    assert np.array_equal(alone.features(3), inside.features(3))


def test_a_history_without_events_has_features() -> None:
    none = np.empty(0, dtype=np.int64)
    features = RecentHistory.of_events(none, none, none.astype(float)).features(2)
    assert features.shape == (1, feature_count(2))
    assert np.isfinite(features).all()


def test_events_before_the_window_change_only_the_number_of_events() -> None:
    item, kind, time_s = np.arange(WINDOW + 5), np.zeros(WINDOW + 5, dtype=int), np.arange(WINDOW + 5.0)
    long = RecentHistory.of_events(item, kind, time_s).features(1)
    other = kind.copy()
    other[0] = 1
    assert np.array_equal(RecentHistory.of_events(item, other, time_s).features(1), long)


def test_an_unknown_time_is_an_unknown_gap_and_not_a_gap_of_zero() -> None:
    item, kind = np.array([1, 2]), np.array([0, 0])
    unknown = RecentHistory.of_events(item, kind, np.array([NAN, NAN])).features(1)
    zero = RecentHistory.of_events(item, kind, np.zeros(2)).features(1)
    assert not np.array_equal(unknown, zero)
