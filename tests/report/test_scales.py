import pytest

from reprise.report.scales import Scale, around, around_times, nice_step


def test_a_value_stands_where_it_belongs() -> None:
    assert Scale(0, 10, 100, 200)(2.5) == 125
    assert Scale(0, 1, 260, 20)(1) == 20  # upside down, as on a page
    assert Scale(1, 10_000, 0, 100, log=True)(100) == pytest.approx(50)


def test_ticks_are_round_and_inside() -> None:
    assert [word for _, word in Scale(0.08, 0.42, 0, 1).ticks()] == ["0.1", "0.2", "0.3", "0.4"]
    assert [word for _, word in Scale(0.401, 0.404, 0, 1).ticks(3)] == ["0.401", "0.402", "0.403", "0.404"]
    assert [word for _, word in Scale(0, 1, 0, 1).ticks(4)] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert [word for _, word in Scale(-30, 30, 0, 1).ticks(3)] == ["-20", "0", "20"]


@pytest.mark.parametrize(("span", "about", "step"), [(1, 4, 0.25), (12, 7, 2), (100, 5, 20), (0.3, 3, 0.1)])
def test_a_step_is_a_round_number(span: float, about: int, step: float) -> None:
    assert nice_step(span, about) == pytest.approx(step)


def test_there_is_room_around_values_and_around_one_value_too() -> None:
    assert around([2.0, 4.0]) == pytest.approx((1.88, 4.12))
    assert around([2.0, 4.0], zero=True) == pytest.approx((0.0, 4.24))
    for alone in ([0.0], [3.0], [-3.0]):
        low, high = around(alone)
        assert low < alone[0] < high
    assert around([0.0], zero=True) == (0.0, 1.0)


@pytest.mark.parametrize("seconds", [0.001, 0.4, 59.0, 7_200.0, 5_000_000.0])
def test_an_axis_of_times_has_two_words_at_least(seconds: float) -> None:
    low, high = around_times([seconds])
    assert low < seconds < high
    assert len(Scale(low, high, 0, 1, log=True).times()) >= 2
