import pytest

from reprise.report.svg import (
    Scale,
    Series,
    dot,
    element,
    image,
    label,
    nice_step,
    padded_range,
    padded_time_range,
    polyline,
)


def test_text_and_attributes_are_escaped() -> None:
    assert label("<b>", 1, 2.25) == '<text x="1" y="2.2">&lt;b&gt;</text>'
    assert element("g", aria_label='"><script>') == '<g aria-label="&#34;&gt;&lt;script&gt;"></g>'
    assert (
        element("text", element("tspan", "a & b"), class_="head")
        == '<text class="head"><tspan>a &amp; b</tspan></text>'
    )


def test_attribute_without_a_value_is_left_out() -> None:
    assert element("text", "a", class_=None) == "<text>a</text>"


def test_image_has_a_description() -> None:
    drawn = image([polyline([(0, 1), (2, 3.14)], "curve s0")], "loss & time", width=10, height=20)
    assert drawn == (
        '<svg viewBox="0 0 10 20" class="plot" role="img" aria-label="loss &amp; time">'
        '<polyline points="0.0,1.0 2.0,3.1" class="curve s0"></polyline></svg>'
    )


def test_baselines_are_hollow() -> None:
    assert Series("a", 2, baseline=True).css == "s2 hollow"


def test_series_with_a_repeated_colour_are_squares() -> None:
    assert Series("a", 9, baseline=False).css == "s1 repeated"
    assert "<circle" in dot(0, 0, Series("a", 7, baseline=False), "")
    assert "<rect" in dot(0, 0, Series("a", 8, baseline=False), "")


def test_scale_maps_values_to_pixels() -> None:
    assert Scale(0, 10, 100, 200)(2.5) == 125
    assert Scale(0, 1, 260, 20)(1) == 20  # a vertical axis: small pixels are at the top
    assert Scale(1, 10_000, 0, 100, log=True)(100) == pytest.approx(50)


def test_ticks_are_round_and_within_the_scale() -> None:
    assert [text for _, text in Scale(0.08, 0.42, 0, 1).ticks()] == ["0.1", "0.2", "0.3", "0.4"]
    assert [text for _, text in Scale(0.401, 0.404, 0, 1).ticks(3)] == ["0.401", "0.402", "0.403", "0.404"]
    assert [text for _, text in Scale(0, 1, 0, 1).ticks(4)] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert [text for _, text in Scale(-30, 30, 0, 1).ticks(3)] == ["-20", "0", "20"]


@pytest.mark.parametrize(("span", "count", "step"), [(1, 4, 0.25), (12, 7, 2), (100, 5, 20), (0.3, 3, 0.1)])
def test_step_is_a_round_number(span: float, count: int, step: float) -> None:
    assert nice_step(span, count) == pytest.approx(step)


def test_range_has_a_margin_around_its_values() -> None:
    assert padded_range([2.0, 4.0]) == pytest.approx((1.88, 4.12))
    assert padded_range([2.0, 4.0], zero=True) == pytest.approx((0.0, 4.24))


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_range_of_one_value_is_not_empty(value: float) -> None:
    low, high = padded_range([value])
    assert low < value < high
    assert padded_range([0.0], zero=True) == (0.0, 1.0)


@pytest.mark.parametrize("seconds", [0.001, 0.4, 59.0, 7_200.0, 5_000_000.0])
def test_time_axis_has_at_least_two_ticks(seconds: float) -> None:
    low, high = padded_time_range([seconds])
    assert low < seconds < high
    assert len(Scale(low, high, 0, 1, log=True).time_ticks()) >= 2
