"""`reprise evaluate`: runs and baselines on the same targets, in one table."""

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from reprise.cli.baseline_names import HELP, find_baseline, fit_baseline
from reprise.cli.options import DatasetOption, Trusted, check_output_file, drop_unset
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.evaluation.options import Options
    from reprise.evaluation.protocol import EvaluationProtocol
    from reprise.report.build import BuiltComparison
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
    outputs = Outputs(html_file, json_file)
    for file in (html_file, json_file):
        check_output_file(file)
    typed = drop_unset(
        part=part, at=at, exclude_seen=exclude_seen or None, min_history=min_history, metric=metric
    )
    circumstances = drop_unset(dataset=dataset, html=html_file, json=json_file, trusted=trusted or None)
    if from_file:
        _check_alone(runs, baselines, typed | drop_unset(search=search))
        command = _command([], **{"from": from_file}, **circumstances)
        if only_draw:
            _draw(from_file, outputs)
        else:
            _reproduce(from_file, dataset, outputs, workers, command, trusted=trusted)
        return
    if only_draw:
        raise ConfigError("--only-draw draws a report that exists; name it with --from REPORT")
    command = _command(runs or [], **drop_unset(baselines=baselines, search=search), **typed, **circumstances)
    facts = _read_search(search)
    names = _names(baselines)
    data = _dataset(runs or [], names, dataset)
    fit = _fit(names, typed=True, trusted=trusted)
    # a run that was typed may name any class in its recipe; one that a report names is trusted only with --trusted
    result = _compare(runs or [], names, data, fit, _settings(typed), workers, trusted=True)
    result.comparison["command"], result.comparison["search"] = command, facts
    _show(result, outputs)


@dataclass(frozen=True)
class Outputs:
    """Files that a comparison is written to, besides the terminal."""

    html: Path | None
    json: Path | None

    def write(self, study: "Comparison") -> list[Path]:
        """Write the files, and return their paths."""
        from reprise.report.comparison_file import write_comparison
        from reprise.report.render import render

        if self.json:
            write_comparison(study, self.json)
        if self.html:
            self.html.write_text(render(study), encoding="utf-8")
        return [file for file in (self.json, self.html) if file]


class Settings(NamedTuple):
    """How the candidates are evaluated and compared."""

    protocol: "EvaluationProtocol"
    options: "Options"
    metric: str | None
    """Metric of the comparison; None: ndcg at the longest list."""


def _settings(typed: dict[str, Any]) -> Settings:
    """Return the settings of the options that were typed; the metric may be that of any module."""
    from reprise.evaluation.metrics import METRICS, parse_metric, with_metric
    from reprise.evaluation.options import Options
    from reprise.evaluation.protocol import EvaluationProtocol

    fields = {name: value for name, value in typed.items() if name != "metric"}
    if "at" in fields:
        fields["at"] = _lengths(fields["at"])
    protocol = EvaluationProtocol(**fields)
    if "metric" not in typed:
        return Settings(protocol, Options(), None)
    found = parse_metric(typed["metric"], trusted=True)
    return Settings(protocol, Options(metrics=with_metric(METRICS, found.metric)), found.key)


def _compare(
    runs: list[Path],
    baselines: list[str],
    data: "SequenceDataset",
    fit: "Fit",
    settings: Settings,
    workers: int,
    *,
    trusted: bool,
) -> "BuiltComparison":
    from reprise.report.build import build_comparison
    from reprise.report.candidates import find_candidates

    return build_comparison(
        find_candidates(runs, baselines, trusted=trusted),
        data,
        fit,
        settings.protocol,
        settings.options,
        metric=settings.metric,
        workers=workers,
        log=lambda line: typer.echo(line, err=True),
    )


def _reproduce(
    file: Path, moved: Path | None, outputs: Outputs, workers: int, command: str, *, trusted: bool
) -> None:
    """Evaluate again what a report compared, show it, and check that the numbers are the same."""
    from reprise.report.comparison_file import read_comparison
    from reprise.report.reproduce import check_same, dataset_of, entrants_of, options_of, protocol_of

    before = read_comparison(file)
    runs, names = entrants_of(before)
    fit = _fit(names, typed=False, trusted=trusted)
    settings = Settings(protocol_of(before), options_of(before, trusted=trusted), before["metric"])
    data = dataset_of(before, runs, moved)
    result = _compare(runs, names, data, fit, settings, workers, trusted=trusted)
    result.comparison["command"], result.comparison["search"] = command, before["search"]
    _show(result, outputs)
    typer.echo(f"the same as {file}: {check_same(before, result.comparison):,} numbers")


def _draw(file: Path, outputs: Outputs) -> None:
    """Write the page of a report without evaluating anything."""
    from reprise.report.comparison_file import read_comparison

    before = read_comparison(file)
    if outputs.html is None or outputs.json is not None:
        raise ConfigError("--only-draw writes a page and nothing else; say where with --html FILE")
    _show_written(outputs.write(before))


def _show(result: "BuiltComparison", outputs: Outputs) -> None:
    """Print a comparison and write its files."""
    from reprise.report.summary import summary

    written = outputs.write(
        result.comparison
    )  # first, so that the files exist if the output is cut short by `| head`
    one = result.reports[0] if len(result.reports) == 1 else None
    typer.echo(summary(result.comparison) if one is None else str(one))
    _show_written(written)


def _show_written(files: list[Path]) -> None:
    for file in files:
        typer.echo(f"wrote {file}")


def _command(runs: list[Path], **options: object) -> str:
    """Return the command that was typed, for the report."""
    words = ["reprise", "evaluate", *map(str, runs)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def _fit(names: list[str], *, typed: bool, trusted: bool) -> "Fit":
    """Return the function that fits the baselines; an unknown name is an error before anything is evaluated."""
    for name in names:
        find_baseline(name, typed=typed, trusted=trusted)
    return partial(fit_baseline, typed=typed, trusted=trusted)


def _dataset(runs: list[Path], names: list[str], moved: Path | None) -> "SequenceDataset":
    from reprise.report.candidates import open_common

    if not runs and not (names and moved):
        raise ConfigError("nothing to evaluate; name a RUN, or --baselines and their --dataset")
    return open_common(runs, moved)


def _read_search(search: Path | None) -> "SearchFacts | None":
    """Read the result of a search, so that an error is raised before anything is evaluated."""
    from reprise.report.run_facts import read_search

    return None if search is None else read_search(search)


def _check_alone(runs: list[Path] | None, baselines: str | None, typed: dict[str, Any]) -> None:
    """Check that nothing was typed that --from takes from the report."""
    given_too = [
        *(["a run"] if runs else []),
        *(["--baselines"] if baselines is not None else []),
        *(f"--{name.replace('_', '-')}" for name in typed),
    ]
    if given_too:
        raise ConfigError(
            f"{given_too[0]} and --from: the report says what it compared and how; leave out one of them"
        )


def _names(baselines: str | None) -> list[str]:
    return [name.strip() for name in (baselines or "").split(",") if name.strip()]


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--at takes whole numbers with commas, as in 10,20; got {text!r}") from None
