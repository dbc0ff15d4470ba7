"""The plots of the report page, as SVG."""

import re
from collections.abc import Iterator

from markupsafe import Markup

from reprise.report.comparison_file import CandidateRecord, ComparisonRecord, JsonObject
from reprise.report.svg import (
    LEFT,
    LETTER_WIDTH,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    Series,
    axes,
    dot,
    element,
    image,
    label,
    line,
    nice_step,
    padded_range,
    padded_time_range,
    polyline,
    x_scale,
    y_scale,
)

RankedModels = list[tuple[Series, CandidateRecord]]
"""The models of a comparison, best first, each with its appearance."""
FASTEST_S = 0.001
"""Shortest time on the logarithmic time axis, which has no zero; shorter times are drawn there."""
BAR_WIDTH, BAR_HEIGHT = 132, 18
"""Size of an interval bar in a table, in SVG units."""
ROW, HEAD = 12.0, 24.0
"""Heights in a slice plot, in SVG units: one row per model, and the label above the rows of a slice."""


def rank_models(comparison: ComparisonRecord, metric: str) -> RankedModels:
    """Return the models sorted by a metric, best first; ties keep the order of the comparison."""
    ranked = sorted(comparison["entrants"], key=lambda facts: -facts["pooled"]["metrics"][metric]["value"])
    return [
        (Series(facts["name"], number, facts["baseline"] is not None), facts)
        for number, facts in enumerate(ranked)
    ]


def interval_bars(models: RankedModels, metric: str) -> list[Markup]:
    """Return a small bar for each model with the value of a metric and its interval, all on one scale from zero."""
    found = [facts["pooled"]["metrics"][metric] for _, facts in models]
    ends = [bound for interval in found for bound in _bounds(interval)]
    x = Scale(*padded_range(ends, zero=True), 1, BAR_WIDTH - 1)
    middle = BAR_HEIGHT / 2
    return [
        image(
            [
                line(x(0), middle, x(interval["value"]), middle, f"bar {series.css}"),
                line(x(_bounds(interval)[0]), middle, x(_bounds(interval)[-1]), middle, f"span {series.css}"),
                dot(x(interval["value"]), middle, series, _tooltip(series, metric, interval), radius=3.2),
            ],
            _tooltip(series, metric, interval),
            width=BAR_WIDTH,
            height=BAR_HEIGHT,
        )
        for (series, _), interval in zip(models, found, strict=True)
    ]


def training_time_plot(models: RankedModels, metric: str) -> Markup | None:
    """Plot a metric against training time; None if no training time is known."""
    timed = [
        (series, max(FASTEST_S, facts["training"]["seconds"]), facts["pooled"]["metrics"][metric])
        for series, facts in models
        if facts["training"]["seconds"] is not None
    ]
    if not timed:
        return None
    x = x_scale(*padded_time_range([seconds for _, seconds, _ in timed]), log=True)
    y = y_scale(*padded_range([bound for _, _, interval in timed for bound in _bounds(interval)]))
    parts = axes(x, y, ("training time", metric), x.time_ticks())
    points = [(x(seconds), y(interval["value"])) for _, seconds, interval in timed]
    for (series, seconds, interval), (left, top) in zip(timed, points, strict=True):
        bounds = _bounds(interval)
        tooltip = f"{_tooltip(series, metric, interval)}, trained in {duration(seconds)}"
        parts.append(line(left, y(bounds[0]), left, y(bounds[-1]), f"span {series.css}"))
        parts.append(dot(left, top, series, tooltip))
    spans = [
        (left - 3, y(_bounds(interval)[-1]), left + 3, y(_bounds(interval)[0]))
        for (_, _, interval), (left, _) in zip(timed, points, strict=True)
    ]
    parts += _labels([(series, *point) for (series, _, _), point in zip(timed, points, strict=True)], spans)
    return image(parts, f"{metric} against training time")


Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a rectangle in SVG units."""


def _labels(points: list[tuple[Series, float, float]], spans: list[Box]) -> Iterator[Markup]:
    """Yield the names of points that fit next to them without overlap; the legend has all names."""
    taken = [*spans, *((left - 6, top - 6, left + 6, top + 6) for _, left, top in points)]
    for series, left, top in points:
        width = len(series.name) * LETTER_WIDTH
        # the preferred place is to the right, then left, above, below, and to the left above and below
        for x, baseline, anchor in (
            (left + 9, top + 4, "start"),
            (left - 9, top + 4, "end"),
            (left, top - 12, "middle"),
            (left, top + 21, "middle"),
            (left + 6, top - 12, "end"),
            (left + 6, top + 21, "end"),
        ):
            start = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            box = (start, baseline - 11, start + width, baseline + 3)
            inside = start >= LEFT and box[2] <= WIDTH - RIGHT + 8 and box[1] >= TOP - 10
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield label(series.name, x, baseline, anchor, "name")
                break


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def learning_curves(models: RankedModels) -> list[tuple[str, Markup]]:
    """Return (metric, plot) for each validation metric: its values by epoch, with a dot at the best epoch."""
    trained = [(series, facts["training"]) for series, facts in models if facts["training"]["curve"]]
    plots = []
    for metric in dict.fromkeys(str(training["metric"]) for _, training in trained):
        curves = [
            (series, curve)
            for series, training in trained
            if training["metric"] == metric
            for curve in training["curve"]
        ]
        epochs = max(point["epoch"] for _, curve in curves for point in curve)
        x = x_scale(1, max(2, epochs))
        y = y_scale(*padded_range([point["value"] for _, curve in curves for point in curve]))
        parts = axes(x, y, ("epoch", f"validation {metric}"), _epoch_ticks(epochs))
        for series, curve in curves:
            points = ((x(point["epoch"]), y(point["value"])) for point in curve)
            best = max(curve, key=lambda point: point["value"])
            tooltip = f"{series.name}: best {metric} {best['value']:.4f}, epoch {best['epoch']}"
            parts.append(polyline(points, f"curve {series.css}"))
            parts.append(dot(x(best["epoch"]), y(best["value"]), series, tooltip, radius=3.5))
        plots.append((metric, image(parts, f"validation {metric} by epoch")))
    return plots


def _epoch_ticks(epochs: int) -> list[tuple[float, str]]:
    """Return ticks at whole epochs, about eight of them."""
    step = max(1, round(nice_step(max(2, epochs), 7)))
    return [(float(epoch), str(epoch)) for epoch in sorted({1, *range(step, max(2, epochs) + 1, step)})]


def slice_plots(models: RankedModels, metric: str) -> list[tuple[str, Markup]]:
    """Return (criterion, plot) for each criterion that divides the targets into slices.

    A plot shows the metric of every model in each slice, with intervals. The criterion is `Slice.of`.
    """
    first = models[0][1]["pooled"]["slices"]
    criteria: dict[str, list[str]] = {}
    for name, part in first.items():
        criteria.setdefault(part["of"], []).append(name)
    return [(of, _slice_plot(models, of, names, metric)) for of, names in criteria.items()]


def _slice_plot(models: RankedModels, of: str, names: list[str], metric: str) -> Markup:
    parts_of = {name: [facts["pooled"]["slices"][name] for _, facts in models] for name in names}
    bounds = [
        bound for parts in parts_of.values() for part in parts for bound in _bounds(part["metrics"][metric])
    ]
    x = Scale(*padded_range([*bounds, 0.0], zero=True), 4, WIDTH - RIGHT)
    block = HEAD + ROW * len(models) + 8
    bottom = block * len(names) + 6
    drawing = [
        part
        for value, text in x.ticks()
        for part in (
            line(x(value), 6, x(value), bottom, "grid"),
            label(text, x(value), bottom + 16, "start" if value == 0 else "middle"),
        )
    ]
    for place, (name, parts) in enumerate(parts_of.items()):
        top = place * block + 6
        title = element("tspan", slice_label(name, of), class_="head")
        drawing.append(element("text", title, f"  {parts[0]['targets']:,} targets", x=4, y=top + 15))
        for number, ((series, _), part) in enumerate(zip(models, parts, strict=True)):
            drawing += _slice_row(x, top + HEAD + ROW * (number + 0.5), series, metric, part)
    drawing.append(label(metric, WIDTH - RIGHT, bottom + 33, "end", "axis"))
    return image(drawing, f"{metric} in the slices {', '.join(names)}", height=bottom + 40)


def _slice_row(x: Scale, y: float, series: Series, metric: str, part: JsonObject) -> Iterator[Markup]:
    interval = part["metrics"][metric]
    bounds = _bounds(interval)
    yield line(x(bounds[0]), y, x(bounds[-1]), y, f"span {series.css}")
    yield dot(x(interval["value"]), y, series, _tooltip(series, metric, interval), radius=3.6)


def reliability_diagram(models: RankedModels) -> Markup | None:
    """Plot the accuracy of the top item against its predicted probability; None if no model has probabilities."""
    calibrated = [(series, found) for series, facts in models if (found := calibration_of(facts)) is not None]
    if not calibrated:
        return None
    highest = max(
        max(part["confidence"], part["accuracy"]) for _, found in calibrated for part in found["bins"]
    )
    limit = min(1.0, max(0.1, highest * 1.06))
    x, y = x_scale(0, limit), y_scale(0, limit)
    parts = [
        *axes(x, y, ("confidence in the top item", "accuracy of the top item")),
        line(x(0), y(0), x(limit), y(limit), "ideal"),
    ]
    for series, found in calibrated:
        points = [(x(part["confidence"]), y(part["accuracy"])) for part in found["bins"]]
        parts.append(polyline(points, f"curve {series.css}"))
        for part, point in zip(found["bins"], points, strict=True):
            tooltip = (
                f"{series.name}: confidence {part['confidence']:.1%}, accuracy {part['accuracy']:.1%}, "
                f"{part['targets']:,} targets"
            )
            parts.append(dot(*point, series, tooltip, radius=3))
    return image(parts, "accuracy of the top item against the model's confidence in it")


def calibration_of(facts: CandidateRecord) -> JsonObject | None:
    """Return the calibration of the pooled report, or else of the first seed that has one; None without one."""
    found = first_result(facts, "calibration")
    return found if found is not None and found["bins"] else None


def first_result(facts: CandidateRecord, name: str) -> JsonObject | None:
    """Return a result of the pooled report by its name, or else that of the first seed that has one; None without one."""
    reports = (facts["pooled"], *facts["reports"])
    found: JsonObject | None = next((report[name] for report in reports if report.get(name)), None)
    return found


def duration(seconds: float) -> str:
    """Format a time with a unit between milliseconds and hours, such as '2.3 min'."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds * 1000:.0f} ms"


def slice_label(name: str, of: str) -> str:
    """Format the name of a slice without its criterion, which is in the title of the plot.

    >>> slice_label("history_2-4", "history")
    '2 – 4'
    """
    spaced = name.removeprefix(f"{of}_").replace("_", " ").replace("-", " \N{EN DASH} ")
    return re.sub(r"(\d)(min|h|d|w)\b", r"\1 \2", spaced)


def _bounds(interval: JsonObject) -> list[float]:
    """Return both ends of an interval, or only the value if there is no interval."""
    if interval["low"] is None or interval["high"] is None:
        return [interval["value"]]
    return [interval["low"], interval["high"]]


def _tooltip(series: Series, metric: str, interval: JsonObject) -> str:
    bounds = _bounds(interval)
    within = f" ({bounds[0]:.4f} to {bounds[1]:.4f})" if len(bounds) == 2 else ""
    return f"{series.name}: {metric} {interval['value']:.4f}{within}"
