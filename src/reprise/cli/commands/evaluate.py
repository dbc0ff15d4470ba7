"""`reprise evaluate`: runs and baselines on the same targets, in one table."""

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reprise.cli.baseline_names import HELP, find_baseline, fit_baseline
from reprise.cli.options import DatasetOption, Trusted, check_output_file, drop_unset
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.report.build import BuiltComparison, RunSettings
    from reprise.report.comparison_file import Comparison, SearchFacts
    from reprise.report.evaluate_candidates import Fit

EXAMPLE = "reprise evaluate runs/shop runs/gru --baselines popularity,markov --html report.html"


def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Directories that `train` wrote. Runs that differ in their seed only are one model.",
            show_default=False,
        ),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help=HELP),
    ] = None,
    part: Annotated[
        Literal["valid", "test"] | None,
        typer.Option(metavar="valid|test", help="The part whose events are predicted.", show_default="test"),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="K,...", help="Lengths of the lists.", show_default="10,20")
    ] = None,
    exclude_seen: Annotated[
        bool | None, typer.Option("--exclude-seen", help="Leave out items that came earlier in the sequence.")
    ] = None,
    min_history: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Only predict events with so many before them.", show_default="1"
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME@K", help="What models are judged by.", show_default="ndcg at the longest list"
        ),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the comparison as one page that opens anywhere."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything that the page shows.")
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="REPORT",
            help="Evaluate again what a JSON report compared, by its own protocol, and see that the numbers are the same.",
        ),
    ] = None,
    only_draw: Annotated[
        bool,
        typer.Option(
            "--only-draw", help="With --from and --html: write the page from the file, and evaluate nothing."
        ),
    ] = False,
    search: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Show on the page what a search found: the directory that `tune` wrote."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Processes; the numbers are the same for any.")
    ] = 1,
    dataset: DatasetOption = None,
    trusted: Trusted = False,
) -> None:
    """Rank every next item of a part among all items, with intervals, and say which model is better."""
    from reprise.report.build import build_comparison
    from reprise.report.evaluate_candidates import Questions

    outputs = Outputs(html_file, json_file)
    for file in (html_file, json_file):
        check_output_file(file)
    asked = drop_unset(
        part=part, at=at, exclude_seen=exclude_seen or None, min_history=min_history, metric=metric
    )
    circumstances = drop_unset(dataset=dataset, html=html_file, json=json_file, trusted=trusted or None)
    if from_file:
        _check_alone(runs, baselines, asked | drop_unset(search=search))
        command = _command([], **{"from": from_file}, **circumstances)
        _again(from_file, dataset, _how(workers, command, trusted=trusted), only_draw, outputs)
        return
    if only_draw:
        raise ConfigError("--only-draw draws a report that exists; name it with --from REPORT")
    command = _command(runs or [], **drop_unset(baselines=baselines, search=search), **asked, **circumstances)
    searched = _searched(search)
    if "at" in asked:
        asked["at"] = _lengths(asked["at"])
    if metric:
        asked |= _metric(metric)
    questions, names = Questions(**asked), _names(baselines)
    how = _how(workers, command, trusted=True)
    # what a person typed may be any class; what a recipe names may be that only if it is said
    data = _dataset(runs or [], names, dataset)
    composed = build_comparison(
        runs or [], names, data, questions, _fit(names, typed=True, trusted=trusted), how
    )
    composed.study["search"] = searched
    _tell(composed, outputs)


@dataclass(frozen=True)
class Outputs:
    """Where a comparison is written besides the terminal."""

    html: Path | None
    json: Path | None

    def write(self, study: "Comparison") -> list[Path]:
        """Write what was asked for, and say which files that was."""
        from reprise.report.comparison_file import write_comparison
        from reprise.report.render import render

        if self.json:
            write_comparison(study, self.json)
        if self.html:
            self.html.write_text(render(study), encoding="utf-8")
        return [file for file in (self.json, self.html) if file]


def _command(runs: list[Path], **options: object) -> str:
    """What was typed, as the report writes it down."""
    words = ["reprise", "evaluate", *map(str, runs)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def _how(workers: int, command: str, *, trusted: bool) -> "RunSettings":
    """The circumstances. What a person named is trusted; what a report names, only if that is said."""
    from reprise.report.build import RunSettings

    return RunSettings(workers, command, lambda line: typer.echo(line, err=True), trusted)


def _fit(names: list[str], *, typed: bool, trusted: bool) -> "Fit":
    """What makes the baselines; a name that stands for none is told before the work begins."""
    for name in names:
        find_baseline(name, typed=typed, trusted=trusted)
    return partial(fit_baseline, typed=typed, trusted=trusted)


def _dataset(runs: list[Path], names: list[str], moved: Path | None) -> "SequenceDataset":
    from reprise.report.candidates import open_common

    if not runs and not (names and moved):
        raise ConfigError("nothing to evaluate; name a RUN, or --baselines and their --dataset")
    return open_common(runs, moved)


def _searched(search: Path | None) -> "SearchFacts | None":
    """What a search found, read before the work begins."""
    from reprise.report.run_facts import read_search

    return None if search is None else read_search(search)


def _tell(composed: "BuiltComparison", outputs: Outputs) -> None:
    """Print the comparison and write its files."""
    from reprise.report.summary import summary

    written = outputs.write(composed.study)  # first: whoever reads the table may have read enough
    one = composed.reports[0] if len(composed.reports) == 1 else None
    typer.echo(summary(composed.study) if one is None else str(one))
    _say_written(written)


def _again(file: Path, moved: Path | None, how: "RunSettings", only_draw: bool, outputs: Outputs) -> None:
    """The comparison of a report once more, or its page alone."""
    from reprise.report.build import build_comparison
    from reprise.report.comparison_file import read_comparison
    from reprise.report.reproduce import check_same, dataset_of, entrants_of, questions_of

    before = read_comparison(file)
    if only_draw:
        if outputs.html is None or outputs.json is not None:
            raise ConfigError("--only-draw writes a page and nothing else; say where with --html FILE")
        _say_written(outputs.write(before))
        return
    runs, names = entrants_of(before)
    fit = _fit(names, typed=False, trusted=how.trusted)
    composed = build_comparison(
        runs, names, dataset_of(before, runs, moved), questions_of(before, trusted=how.trusted), fit, how
    )
    composed.study["search"] = before["search"]
    _tell(composed, outputs)
    typer.echo(f"the same as {file}: {check_same(before, composed.study):,} numbers")


def _say_written(files: list[Path]) -> None:
    for file in files:
        typer.echo(f"wrote {file}")


def _check_alone(runs: list[Path] | None, baselines: str | None, asked: dict[str, Any]) -> None:
    """See that nothing was typed that the report says itself."""
    typed = [
        *(["a run"] if runs else []),
        *(["--baselines"] if baselines is not None else []),
        *(f"--{name.replace('_', '-')}" for name in asked),
    ]
    if typed:
        raise ConfigError(
            f"{typed[0]} and --from: a report says itself what it compared, and how; leave out one of them"
        )


def _names(baselines: str | None) -> list[str]:
    return [name.strip() for name in (baselines or "").split(",") if name.strip()]


def _metric(text: str) -> dict[str, Any]:
    """Return the fields of `Questions` for `--metric`; a name that was typed may be that of any module."""
    from reprise.evaluation.evaluator import Options
    from reprise.evaluation.metrics import METRICS, parse_metric, with_metric

    found = parse_metric(text, trusted=True)
    return {"metric": found.key, "options": Options(metrics=with_metric(METRICS, found.metric))}


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--at takes whole numbers with commas, as in 10,20; got {text!r}") from None
