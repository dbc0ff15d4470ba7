"""The summary of a comparison on the terminal: a table of the models and the results for the best one."""

from reprise.evaluation.aligned_text import aligned
from reprise.evaluation.metrics import COLD_METRICS
from reprise.evaluation.metrics_table import MetricsTable
from reprise.evaluation.stats.bootstrap import Interval
from reprise.report.comparison_file import CandidateRecord, ComparisonRecord, JsonObject
from reprise.report.plots import duration
from reprise.report.tables import ACCURACY


def summary(comparison: ComparisonRecord) -> str:
    """Format the models sorted by the metric of the comparison, the results for the best model, and the protocol."""
    metric, longest = comparison["metric"], max(comparison["protocol"]["at"])
    names = list(dict.fromkeys([metric, *(f"{kind}@{longest}" for kind in ACCURACY)]))
    ranked = sorted(
        comparison["entrants"], key=lambda entrant: -entrant["pooled"]["metrics"][metric]["value"]
    )
    rows = [["model", "seeds", *names, "training"], *(_row(entrant, names) for entrant in ranked)]
    best = ranked[0]["name"]
    results = [found for found in comparison["verdicts"] if best in (found["first"], found["second"])]
    left = len(comparison["verdicts"]) - len(results)
    more = [f"Use --html or --json to see {left} more pair{'s' if left > 1 else ''}."] if left else []
    blocks = [
        aligned(rows),
        _cold_items(ranked, longest),
        *content_blocks(comparison),
        "\n".join([*(found["sentence"] for found in results), *more]),
        correction_note(comparison),
        "\n".join(comparison["words"]),
    ]
    return "\n\n".join(filter(None, blocks))


def comparison_table(comparison: ComparisonRecord) -> MetricsTable:
    """Return the accuracy of all models, best first; a star marks a significant difference from the first row.

    The stars are for the metric of the comparison.
    """
    metric = comparison["metric"]
    ranked = sorted(
        comparison["entrants"], key=lambda entrant: -entrant["pooled"]["metrics"][metric]["value"]
    )
    names = [f"{kind}@{k}" for k in comparison["protocol"]["at"] for kind in ACCURACY]
    rows = [
        (one["name"], {name: Interval(**found) for name, found in one["pooled"]["metrics"].items()})
        for one in ranked
    ]
    differs = {frozenset((one["first"], one["second"])) for one in comparison["verdicts"] if one["better"]}
    marked = frozenset(
        (row, metric)
        for row, (name, _) in enumerate(rows)
        if row and frozenset((rows[0][0], name)) in differs
    )
    return MetricsTable.of(rows, [metric, *(name for name in names if name != metric)], marked)


def content_blocks(comparison: ComparisonRecord) -> list[str]:
    """Format for each network that reads content what it loses in recall without parts of it."""
    metric = f"recall@{max(comparison['protocol']['at'])}"
    blocks = []
    for entrant in comparison["entrants"]:
        rows = [
            [
                part["name"],
                *(_signed((part[group] or {}).get(metric)) for group in ("differences", "warm", "cold")),
            ]
            for part in entrant.get("content") or ()
        ]
        if rows:
            head = [f"{entrant['name']}: loss of {metric}", "all targets", "warm", "cold"]
            blocks.append(aligned([head, *rows]))
    return blocks


def _signed(found: JsonObject | None) -> str:
    return "-" if found is None else Interval(**found).signed()


def _cold_items(ranked: list[CandidateRecord], longest: int) -> str:
    """Format the measures of cold items; empty if no target and no candidate is cold."""
    found = {name for entrant in ranked for name in entrant["pooled"]["metrics"]}
    names = [name for name in (f"{kind}@{longest}" for kind in COLD_METRICS) if name in found]
    if not names:
        return ""
    rows = [[entrant["name"], *(_value(entrant, name) for name in names)] for entrant in ranked]
    return aligned([["cold items", *names], *rows])


def correction_note(comparison: ComparisonRecord) -> str:
    """Explain the correction for multiple comparisons; empty if there are fewer than two."""
    pairs = len(comparison["verdicts"])
    if pairs < 2:
        return ""
    return (
        f"All p values are corrected for {pairs} comparisons (Holm 1979). The intervals are not corrected, so an interval "
        "can exclude zero although the difference is not significant."
    )


def _row(entrant: CandidateRecord, names: list[str]) -> list[str]:
    seconds = entrant["training"]["seconds"]
    return [
        entrant["name"],
        str(len(entrant["seeds"]) or "-"),
        *(_value(entrant, name) for name in names),
        "-" if seconds is None else duration(seconds),
    ]


def _value(entrant: CandidateRecord, metric: str) -> str:
    """Format a metric with its interval; a dash if the model does not have it."""
    found = entrant["pooled"]["metrics"].get(metric)
    return "-" if found is None else str(Interval(**found))
