"""SVG elements and axes for the plots of the report page.

Shapes carry CSS classes, so the style sheet of the page sets their colours in light and dark mode. A plotting library
fixes colours and fonts and adds about 50 kB of markup per plot, so these few shapes are written directly.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 300
"""Size of a plot in SVG units."""
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 40
"""Margins between the edge of a plot and its axes, in SVG units."""
COLOURS = 8
"""Number of colours in the style sheet; further series reuse them with another shape."""
LETTER_WIDTH = 7.0
"""Approximate width of a letter in plot labels, in SVG units."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Step sizes between ticks, up to a power of ten."""
TIME_LABELS = {
    0.001: "1 ms", 0.01: "10 ms", 0.1: "0.1 s", 1.0: "1 s", 10.0: "10 s", 60.0: "1 min", 600.0: "10 min",
    3600.0: "1 h", 36_000.0: "10 h", 86_400.0: "1 day", 864_000.0: "10 days",
}  # fmt: skip
"""Tick labels of a logarithmic time axis, by seconds."""


@dataclass(frozen=True)
class Series:
    """The appearance of one model in every plot and table."""

    name: str
    """Name of the model, as the legend shows it."""
    number: int
    """Position of the model on the page, from 0; it selects the colour."""
    baseline: bool
    """Whether the model is a baseline; its dots are hollow."""

    @property
    def css(self) -> str:
        """The CSS classes of the series."""
        hollow = " hollow" if self.baseline else ""
        repeated = " repeated" if self.number >= COLOURS else ""
        return f"s{self.number % COLOURS}{hollow}{repeated}"


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic mapping from the values `low`..`high` to the pixels `start`..`end`."""

    low: float
    """Value at the pixel `start`."""
    high: float
    """Value at the pixel `end`."""
    start: float
    """Pixel of the lowest value."""
    end: float
    """Pixel of the highest value; smaller than `start` on a vertical axis."""
    log: bool = False
    """Whether the axis is logarithmic."""

    def __post_init__(self) -> None:
        assert self.low < self.high and (not self.log or self.low > 0)

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, value = (
            (math.log(self.low), math.log(self.high), math.log(value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """Return about `count` round values within the scale, each with its label."""
        step = nice_step(self.high - self.low, count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        if not math.isclose(step, round(step, digits)):
            digits += 1  # a step of 0.25 needs one digit more than one of 0.2
        return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]

    def time_ticks(self) -> list[tuple[float, str]]:
        """Return the entries of `TIME_LABELS` within the scale, which counts seconds."""
        return [(value, text) for value, text in TIME_LABELS.items() if self.low <= value <= self.high]


def nice_step(span: float, count: int) -> float:
    """Return a round step that divides a span into about `count` parts."""
    rough = span / count
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(step * unit for step in STEPS if step * unit >= rough * (1 - 1e-9))


def padded_range(values: list[float], *, zero: bool = False) -> tuple[float, float]:
    """Return (low, high) of an axis: the range of the values with a margin of 6 %.

    Args:
        values: At least one value.
        zero: Whether the axis starts at exactly zero.
    """
    low, high = (0.0 if zero else min(values)), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero else low - margin), high + margin


def padded_time_range(seconds: list[float]) -> tuple[float, float]:
    """Return (low, high) of a logarithmic time axis that covers the values and at least two of `TIME_LABELS`."""
    low, high = min(seconds) / 2, max(seconds) * 2
    shortest, longest = min(TIME_LABELS), max(TIME_LABELS)
    while sum(low <= value <= high for value in TIME_LABELS) < 2 and (low > shortest or high < longest):
        low, high = low / 2, high * 2
    return low, high


def x_scale(low: float, high: float, *, log: bool = False) -> Scale:
    """Return the scale of the horizontal axis of a plot."""
    return Scale(low, high, LEFT, WIDTH - RIGHT, log)


def y_scale(low: float, high: float) -> Scale:
    """Return the scale of the vertical axis of a plot."""
    return Scale(low, high, HEIGHT - BOTTOM, TOP)


def element(name: str, *content: object, **attributes: object) -> Markup:
    """Return one SVG element with escaped content and attribute values.

    Args:
        name: Tag name.
        content: Text, or elements made by this function.
        attributes: `class_` means `class` and `text_anchor` means `text-anchor`; None leaves an attribute out.
    """
    written = [
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else value
        )
        for key, value in attributes.items()
        if value is not None
    ]
    inner = Markup("").join(escape(part) for part in content)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(written), inner)


def image(
    parts: Iterable[Markup], description: str, *, width: float = WIDTH, height: float = HEIGHT
) -> Markup:
    """Return a whole SVG image; screen readers read the description."""
    view_box = f"0 0 {width:g} {height:g}"
    return element("svg", *parts, viewBox=view_box, class_="plot", role="img", aria_label=description)


def label(text: object, x: float, y: float, anchor: str = "start", css: str | None = None) -> Markup:
    """Return a text element at a position."""
    return element("text", text, x=x, y=y, text_anchor=None if anchor == "start" else anchor, class_=css)


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """Return a straight line between two points."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css)


def dot(x: float, y: float, series: Series, tooltip: str, radius: float = 4.5) -> Markup:
    """Return a data point: a circle, or a square from the ninth series on, whose colours repeat."""
    title = element("title", tooltip)
    css = f"dot {series.css}"
    if series.number < COLOURS:
        return element("circle", title, cx=x, cy=y, r=radius, class_=css)
    side = 2 * radius
    return element("rect", title, x=x - radius, y=y - radius, width=side, height=side, class_=css)


def polyline(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """Return a line through points."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=css)


def axes(
    x: Scale,
    y: Scale,
    titles: tuple[str, str],
    x_ticks: list[tuple[float, str]] | None = None,
) -> list[Markup]:
    """Return grid lines, tick labels and axis titles.

    Args:
        x: Horizontal scale.
        y: Vertical scale.
        titles: Titles of the x and the y axis. The y title is horizontal, above its axis.
        x_ticks: Ticks of the x axis; None takes the round values of the scale.
    """
    parts = [label(titles[1], 0, TOP - 12, css="axis"), label(titles[0], x.end, y.start + 34, "end", "axis")]
    for value, text in y.ticks():
        parts += [
            line(x.start, y(value), x.end, y(value), "grid"),
            label(text, x.start - 8, y(value) + 4, "end"),
        ]
    for value, text in x.ticks() if x_ticks is None else x_ticks:
        parts += [
            line(x(value), y.start, x(value), y.start + 4, "tick"),
            label(text, x(value), y.start + 17, "middle"),
        ]
    return parts
