"""`reprise evaluate`: runs and baselines on the same targets, in one table."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reprise.cli.baselines import HELP, fit_baselines
from reprise.cli.options import MovedDataset, Trusted, check_place
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.data.dataset import Part, SequenceDataset
    from reprise.evaluation.report import Report
    from reprise.models.scorer import Scorer

EXAMPLE = "reprise evaluate runs/shop --baselines popularity,markov --at 10,20 --json report.json"


def evaluate(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Directories that `train` wrote.")
    ] = None,
    baselines: Annotated[str, typer.Option(metavar="NAMES", help=HELP)] = "",
    part: Annotated[
        Literal["valid", "test"],
        typer.Option(metavar="valid|test", help="The part whose events are predicted."),
    ] = "test",
    at: Annotated[str, typer.Option(metavar="K,...", help="Lengths of the lists.")] = "10,20",
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items that came earlier in the sequence.")
    ] = False,
    min_history: Annotated[
        int, typer.Option(metavar="N", min=1, help="Only predict events with so many before them.")
    ] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the reports as JSON.")
    ] = None,
    dataset: MovedDataset = None,
    trusted: Trusted = False,
) -> None:
    """Rank every next item of a part among all items, with intervals; several models are compared in pairs."""
    from reprise.evaluation.evaluate import evaluate as evaluate_model

    check_place(json_file)
    runs = runs or []
    networks, data = _load(runs, dataset, part) if runs else ([], _alone(baselines, dataset))
    others = fit_baselines(baselines, data, trusted=trusted)
    protocol: dict[str, Any] = {
        "part": part,
        "at": _lengths(at),
        "exclude_seen": exclude_seen,
        "min_history": min_history,
    }
    reports = [evaluate_model(model, data, **protocol) for model in (*networks, *others)]
    if len(runs) > 1:
        # two runs of one recipe have one name; their directories tell them apart
        reports[: len(runs)] = [
            replace(report, name=run.name) for report, run in zip(reports, runs, strict=False)
        ]
    typer.echo(table(reports))
    if json_file:
        json_file.write_text(json.dumps({"models": [report.to_dict() for report in reports]}, indent=2))
        typer.echo(f"wrote {json_file}")


def table(reports: "list[Report]") -> str:
    """One report, or the first beside the others with paired differences."""
    from reprise.evaluation.compare import compare

    return str(compare(*reports)) if len(reports) > 1 else str(reports[0])


def _load(runs: list[Path], dataset: Path | None, part: "Part") -> "tuple[list[Scorer], SequenceDataset]":
    """The networks of the runs, and the data they have in common."""
    from reprise.training import load_run

    models, data = zip(*(load_run(run, dataset, before=part) for run in runs), strict=True)
    for run, other in zip(runs, data, strict=True):
        if other.fingerprint != data[0].fingerprint:
            raise ConfigError(
                f"{run} was trained on another dataset than {runs[0]} ({other.path}, not {data[0].path}); "
                "only models of one dataset can be compared"
            )
    return list(models), data[0]


def _alone(baselines: str, dataset: Path | None) -> "SequenceDataset":
    """The data of baselines that stand beside no run."""
    from reprise.data.dataset import SequenceDataset

    if dataset is None or not baselines:
        raise ConfigError("nothing to evaluate; name a RUN, or --baselines and their --dataset")
    return SequenceDataset.open(dataset)


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--at takes whole numbers with commas, as in 10,20; got {text!r}") from None
