"""The pictures of a comparison. Each takes facts and says nothing that is not in them."""

import re
from collections.abc import Iterator

from markupsafe import Markup

from reprise.report.comparison_file import EntrantFacts, Metrics
from reprise.report.scales import Scale, around, around_times, nice_step
from reprise.report.svg import (
    LEFT,
    LETTER,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    dot,
    frame,
    line,
    path,
    picture,
    tag,
    word,
    x_scale,
    y_scale,
)

Drawn = list[tuple[Series, EntrantFacts]]
FASTEST_S = 0.001
"""Shorter times are drawn as this one: an axis of logarithms has no zero."""
BAR_WIDTH, BAR_HEIGHT = 132, 18
ROW, HEAD = 12.0, 24.0
"""Heights in the picture of slices: of an entrant's line, and of the words above a slice's."""


def interval_bar(drawn: Drawn, metric: str) -> list[Markup]:
    """The value of a metric and its interval as a small picture for each entrant, all on one scale."""
    found = [facts["pooled"]["metrics"][metric] for _, facts in drawn]
    x = Scale(
        *around([bound for interval in found for bound in _bounds(interval)], zero=True), 1, BAR_WIDTH - 1
    )
    middle = BAR_HEIGHT / 2
    return [
        picture(
            [
                line(x(0), middle, x(interval["value"]), middle, f"bar {series.css}"),
                line(x(_bounds(interval)[0]), middle, x(_bounds(interval)[-1]), middle, f"span {series.css}"),
                dot(x(interval["value"]), middle, series, _said(series, metric, interval), radius=3.2),
            ],
            _said(series, metric, interval),
            width=BAR_WIDTH,
            height=BAR_HEIGHT,
        )
        for (series, _), interval in zip(drawn, found, strict=True)
    ]


def cost(drawn: Drawn, metric: str) -> Markup | None:
    """Accuracy against training time; None where no time is known."""
    timed = [
        (series, max(FASTEST_S, facts["training"]["seconds"]), facts["pooled"]["metrics"][metric])
        for series, facts in drawn
        if facts["training"]["seconds"] is not None
    ]
    if not timed:
        return None
    x = x_scale(*around_times([seconds for _, seconds, _ in timed]), log=True)
    y = y_scale(*around([bound for _, _, interval in timed for bound in _bounds(interval)]))
    parts = frame(x, y, ("training time", metric), x.times())
    points = [(x(seconds), y(interval["value"])) for _, seconds, interval in timed]
    for (series, seconds, interval), (left, top) in zip(timed, points, strict=True):
        bounds = _bounds(interval)
        parts.append(line(left, y(bounds[0]), left, y(bounds[-1]), f"span {series.css}"))
        parts.append(
            dot(left, top, series, f"{_said(series, metric, interval)}, trained in {duration(seconds)}")
        )
    spans = [
        (left - 3, y(_bounds(interval)[-1]), left + 3, y(_bounds(interval)[0]))
        for (_, _, interval), (left, _) in zip(timed, points, strict=True)
    ]
    parts += _labels([(series, *point) for (series, _, _), point in zip(timed, points, strict=True)], spans)
    return picture(parts, f"{metric} against training time")


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _labels(points: list[tuple[Series, float, float]], spans: list[Box]) -> Iterator[Markup]:
    """Names beside their points where there is room; the legend has them all."""
    taken = [*spans, *((left - 6, top - 6, left + 6, top + 6) for _, left, top in points)]
    for series, left, top in points:
        wide = len(series.name) * LETTER
        for x, base, anchor in (
            (left + 9, top + 4, "start"),
            (left - 9, top + 4, "end"),
            (left, top - 12, "middle"),
            (left, top + 21, "middle"),
            (left + 6, top - 12, "end"),
            (left + 6, top + 21, "end"),
        ):
            begin = x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            box = (begin, base - 11, begin + wide, base + 3)
            inside = begin >= LEFT and box[2] <= WIDTH - RIGHT + 8 and box[1] >= TOP - 10
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield word(series.name, x, base, anchor, "name")
                break


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def curves(drawn: Drawn) -> list[tuple[str, Markup]]:
    """(metric, picture) for each validation metric that runs were chosen by: its course over the epochs."""
    learned = [(series, facts["training"]) for series, facts in drawn if facts["training"]["curve"]]
    pictures = []
    for metric in dict.fromkeys(str(training["metric"]) for _, training in learned):
        lines = [
            (series, curve)
            for series, training in learned
            if training["metric"] == metric
            for curve in training["curve"]
        ]
        epochs = max(point["epoch"] for _, curve in lines for point in curve)
        x = x_scale(1, max(2, epochs))
        y = y_scale(*around([point["value"] for _, curve in lines for point in curve]))
        parts = frame(x, y, ("epoch", f"validation {metric}"), _whole(epochs))
        for series, curve in lines:
            parts.append(
                path(((x(point["epoch"]), y(point["value"])) for point in curve), f"curve {series.css}")
            )
            best = max(curve, key=lambda point: point["value"])
            says = f"{series.name}: best {metric} {best['value']:.4f}, epoch {best['epoch']}"
            parts.append(dot(x(best["epoch"]), y(best["value"]), series, says, radius=3.5))
        pictures.append((metric, picture(parts, f"validation {metric} by epoch")))
    return pictures


def _whole(epochs: int) -> list[tuple[float, str]]:
    """Ticks at whole epochs, some eight at most."""
    step = max(1, round(nice_step(max(2, epochs), 7)))
    return [(float(epoch), str(epoch)) for epoch in sorted({1, *range(step, max(2, epochs) + 1, step)})]


def slices(drawn: Drawn, metric: str) -> list[tuple[str, Markup]]:
    """(what divides the targets, picture): the metric of every entrant within each slice, with intervals."""
    first = drawn[0][1]["pooled"]["slices"]
    families: dict[str, list[str]] = {}
    for name, part in first.items():
        families.setdefault(part["of"], []).append(name)
    return [(of, _family(drawn, of, names, metric)) for of, names in families.items()]


def _family(drawn: Drawn, of: str, names: list[str], metric: str) -> Markup:
    parts_of = {name: [facts["pooled"]["slices"][name] for _, facts in drawn] for name in names}
    bounds = [
        bound for parts in parts_of.values() for part in parts for bound in _bounds(part["metrics"][metric])
    ]
    x = Scale(*around([*bounds, 0.0], zero=True), 4, WIDTH - RIGHT)
    block = HEAD + ROW * len(drawn) + 8
    bottom = block * len(names) + 6
    drawing = [
        part
        for value, text in x.ticks()
        for part in (
            line(x(value), 6, x(value), bottom, "grid"),
            word(text, x(value), bottom + 16, "start" if value == 0 else "middle"),
        )
    ]
    for place, (name, parts) in enumerate(parts_of.items()):
        top = place * block + 6
        drawing.append(
            tag("text", tag("tspan", named(name, of), class_="head"), f"  {parts[0]['targets']:,} targets",
                x=4, y=top + 15)
        )  # fmt: skip
        for number, ((series, _), part) in enumerate(zip(drawn, parts, strict=True)):
            drawing += _row(x, top + HEAD + ROW * (number + 0.5), series, metric, part)
    drawing.append(word(metric, WIDTH - RIGHT, bottom + 33, "end", "axis"))
    return picture(drawing, f"{metric} in the slices {', '.join(names)}", height=bottom + 40)


def _row(x: Scale, y: float, series: Series, metric: str, part: Metrics) -> Iterator[Markup]:
    interval = part["metrics"][metric]
    bounds = _bounds(interval)
    yield line(x(bounds[0]), y, x(bounds[-1]), y, f"span {series.css}")
    yield dot(x(interval["value"]), y, series, _said(series, metric, interval), radius=3.6)


def reliability(drawn: Drawn) -> Markup | None:
    """How often the first item was right against how sure the model was of it; None where no entrant has probabilities."""
    sure = [(series, found) for series, facts in drawn if (found := calibration_of(facts)) is not None]
    if not sure:
        return None
    most = max(max(part["confidence"], part["accuracy"]) for _, found in sure for part in found["bins"])
    high = min(1.0, max(0.1, most * 1.06))
    x, y = x_scale(0, high), y_scale(0, high)
    parts = [
        *frame(x, y, ("how sure of its first item", "how often that was right")),
        line(x(0), y(0), x(high), y(high), "ideal"),
    ]
    for series, found in sure:
        points = [(x(part["confidence"]), y(part["accuracy"])) for part in found["bins"]]
        parts.append(path(points, f"curve {series.css}"))
        for part, point in zip(found["bins"], points, strict=True):
            says = f"{series.name}: {part['confidence']:.1%} sure, {part['accuracy']:.1%} right, {part['targets']:,} targets"
            parts.append(dot(*point, series, says, radius=3))
    return picture(parts, "how often the first item was right, by the model's confidence in it")


def calibration_of(facts: EntrantFacts) -> Metrics | None:
    """That of the pooled report, or else of the first seed that has one."""
    found: Metrics | None = next(
        (
            report["calibration"]
            for report in (facts["pooled"], *facts["reports"])
            if report.get("calibration")
        ),
        None,
    )
    return found if found is not None and found["bins"] else None


def duration(seconds: float) -> str:
    """A time as a person says it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds * 1000:.0f} ms"


def named(slice_name: str, of: str) -> str:
    """A slice's name as people read it, without what divides the targets: that is said above the picture."""
    spaced = slice_name.removeprefix(f"{of}_").replace("_", " ").replace("-", " \N{EN DASH} ")
    return re.sub(r"(\d)(min|h|d|w)\b", r"\1 \2", spaced)


def _bounds(interval: Metrics) -> list[float]:
    """Its ends, or the value alone where there is no interval."""
    if interval["low"] is None or interval["high"] is None:
        return [interval["value"]]
    return [interval["low"], interval["high"]]


def _said(series: Series, metric: str, interval: Metrics) -> str:
    bounds = _bounds(interval)
    within = f" ({bounds[0]:.4f} to {bounds[1]:.4f})" if len(bounds) == 2 else ""
    return f"{series.name}: {metric} {interval['value']:.4f}{within}"
