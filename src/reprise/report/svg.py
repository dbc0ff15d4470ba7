"""Pictures as SVG inside the page: shapes with classes, so that the page's style colours them, in light and in dark.

By hand, because a plotting library fixes colours and fonts, brings its own markup of fifty kilobytes a picture, and
would be a heavy thing to install for a handful of lines and dots.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from reprise.report.scales import Scale

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 40
"""Margins of a picture."""
COLOURS = 8
LETTER = 7.0
"""Width of a letter, about, in the size that pictures are written in."""


@dataclass(frozen=True)
class Series:
    """How one entrant looks in every picture."""

    name: str
    number: int
    """Its place in the page's order: which colour it has."""
    baseline: bool
    """Baselines are drawn hollow."""

    @property
    def css(self) -> str:
        """Its classes."""
        return f"s{self.number % COLOURS}{' hollow' if self.baseline else ''}{' again' if self.number >= COLOURS else ''}"


def tag(name: str, *inside: object, **attributes: object) -> Markup:
    """One element; text and values of attributes are escaped. `class_` is `class`, `text_anchor` is `text-anchor`."""
    written = [
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else value
        )
        for key, value in attributes.items()
        if value is not None
    ]
    content = Markup("").join(escape(part) for part in inside)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(written), content)


def picture(parts: Iterable[Markup], says: str, *, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """The whole picture; `says` is what it shows, for those who do not see it."""
    return tag(
        "svg", *parts, viewBox=f"0 0 {width:g} {height:g}", class_="plot", role="img", aria_label=says
    )  # fmt: skip


def word(text: object, x: float, y: float, anchor: str = "start", css: str | None = None) -> Markup:
    """Some text."""
    return tag("text", text, x=x, y=y, text_anchor=None if anchor == "start" else anchor, class_=css)


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css)


def dot(x: float, y: float, series: Series, says: str, radius: float = 4.5) -> Markup:
    """A point of an entrant; baselines are hollow, and a colour that comes again is a square."""
    says_it = tag("title", says)
    css = f"dot {series.css}"
    if series.number < COLOURS:
        return tag("circle", says_it, cx=x, cy=y, r=radius, class_=css)
    return tag(
        "rect", says_it, x=x - radius, y=y - radius, width=2 * radius, height=2 * radius, class_=css
    )  # fmt: skip


def path(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """A line through points."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=css)


def frame(
    x: Scale,
    y: Scale,
    titles: tuple[str, str],
    x_ticks: list[tuple[float, str]] | None = None,
) -> list[Markup]:
    """Lines across at the ticks of y, words at those of both, and what the axes are: that of y above it, to be read level."""
    parts = [word(titles[1], 0, TOP - 12, css="axis"), word(titles[0], x.end, y.start + 34, "end", "axis")]
    for value, text in y.ticks():
        parts += [
            line(x.start, y(value), x.end, y(value), "grid"),
            word(text, x.start - 8, y(value) + 4, "end"),
        ]
    for value, text in x.ticks() if x_ticks is None else x_ticks:
        parts += [
            line(x(value), y.start, x(value), y.start + 4, "tick"),
            word(text, x(value), y.start + 17, "middle"),
        ]
    return parts


def x_scale(low: float, high: float, *, log: bool = False) -> Scale:
    """The axis along the bottom of a picture."""
    return Scale(low, high, LEFT, WIDTH - RIGHT, log)


def y_scale(low: float, high: float) -> Scale:
    """The axis along its left side."""
    return Scale(low, high, HEIGHT - BOTTOM, TOP)
