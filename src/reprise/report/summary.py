"""A study on a terminal: a line for each model, and what is shown about the best."""

from reprise.evaluation.report import aligned
from reprise.evaluation.stats.bootstrap import Interval
from reprise.report.comparison_file import Comparison, EntrantFacts
from reprise.report.plots import duration
from reprise.report.tables import ACCURACY
from reprise.report.text import correction


def summary(study: Comparison) -> str:
    """The models by the metric they are judged by, verdicts on the best of them, and the protocol."""
    main, longest = study["metric"], max(study["protocol"]["at"])
    names = list(dict.fromkeys([main, *(f"{kind}@{longest}" for kind in ACCURACY)]))
    ranked = sorted(study["entrants"], key=lambda entrant: -entrant["pooled"]["metrics"][main]["value"])
    rows = [["model", "seeds", *names, "training"], *(_row(entrant, names) for entrant in ranked)]
    best = ranked[0]["name"]
    told = [found for found in study["verdicts"] if best in (found["first"], found["second"])]
    left = len(study["verdicts"]) - len(told)
    more = [f"{left} other pair{'s' if left > 1 else ''}: in the files of --html and --json."] if left else []
    blocks = [
        aligned(rows),
        "\n".join([*(found["sentence"] for found in told), *more]),
        correction(study),
        "\n".join(study["words"]),
    ]
    return "\n\n".join(filter(None, blocks))


def _row(entrant: EntrantFacts, names: list[str]) -> list[str]:
    seconds = entrant["training"]["seconds"]
    metrics = entrant["pooled"]["metrics"]
    return [
        entrant["name"],
        str(len(entrant["seeds"]) or "-"),
        *(str(Interval(**metrics[name])) for name in names),
        "-" if seconds is None else duration(seconds),
    ]
