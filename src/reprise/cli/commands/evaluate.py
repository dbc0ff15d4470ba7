"""`reprise evaluate`: evaluate runs and baselines on the same targets, and compare them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from reprise.atomic_files import resolved
from reprise.cli.baseline_names import HELP, expand_all, find_baseline, fit_baseline
from reprise.cli.measured_explanations import show_explanations
from reprise.cli.shared_options import DatasetOption, Trusted, check_output_file, drop_unset
from reprise.errors import ConfigError, command_line

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.evaluation.options import EvaluationOptions
    from reprise.evaluation.protocol import EvaluationProtocol
    from reprise.report.build import BuiltComparison
    from reprise.report.candidates import CandidateSource
    from reprise.report.comparison_file import ComparisonRecord, SearchRecord
    from reprise.report.evaluate_candidates import Fit

EXAMPLE = "reprise evaluate runs/shop runs/gru --baselines popularity,markov --html report.html"


def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run directories written by `train`. Runs that differ only in the seed count as one model.",
            show_default=False,
        ),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help=HELP),
    ] = None,
    part: Annotated[
        Literal["valid", "test"] | None,
        typer.Option(metavar="valid|test", help="Part whose events are the targets.", show_default="test"),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="K,...",
            help="Lengths k of the top-k lists.",
            show_default="10,20, or the number of items if there are fewer",
        ),
    ] = None,
    exclude_seen: Annotated[
        bool | None,
        typer.Option("--exclude-seen", help="Exclude items that occurred earlier in the sequence."),
    ] = None,
    min_history: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Minimum number of events before a target.", show_default="1"),
    ] = None,
    targets: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Evaluate a random sample of N targets, the same for all models. Items are never sampled.",
            show_default="all targets",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME@K", help="Metric of the comparison.", show_default="ndcg at the largest K"
        ),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the comparison as one HTML page."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all results as JSON.")
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="REPORT",
            help="Repeat the evaluation of a JSON report, and check that the numbers are the same.",
        ),
    ] = None,
    only_draw: Annotated[
        bool,
        typer.Option("--only-draw", help="With --from and --html: write the page without evaluating."),
    ] = False,
    search: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Search directory written by `tune`, to show on the page."),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of processes; it does not change the results.")
    ] = 1,
    lists: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Ranked lists of other software with a name: CSV, Parquet, JSON lines or a TREC run file. "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the metrics as a table: .tex (booktabs), .csv or .md."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also measure how faithful explanations of each network are."),
    ] = False,
    dataset: DatasetOption = None,
    trusted: Trusted = False,
) -> None:
    """Evaluate models by full ranking, with confidence intervals, and compare them."""
    outputs = Outputs(html_file, json_file, table)
    inputs = [name for name in _names(baselines) if name.endswith(".toml")]
    for file in (html_file, json_file, table):
        check_output_file(file, [*inputs, from_file] if from_file else inputs)
    if html_file and json_file and resolved(html_file) == resolved(json_file):
        raise ConfigError(f"--html and --json both name {html_file}; give each its own file")
    typed = drop_unset(
        part=part,
        at=at,
        exclude_seen=exclude_seen or None,
        min_history=min_history,
        targets=targets,
        metric=metric,
    )
    other_options = drop_unset(
        dataset=dataset, html=html_file, json=json_file, table=table, trusted=trusted or None
    )
    if table:
        _check_table(table)
    if from_file:
        _check_conflicts(runs, baselines, typed | drop_unset(search=search, lists=lists))
        command = _command([], **{"from": from_file}, **other_options)
        if only_draw:
            _draw(from_file, outputs)
        else:
            _reproduce(from_file, dataset, outputs, workers, command, trusted=trusted)
        return
    if only_draw:
        raise ConfigError("--only-draw needs an existing report; name it with --from REPORT")
    files = _list_files(lists or [])
    command = _command(
        runs or [], *(lists or []), **drop_unset(baselines=baselines, search=search), **typed, **other_options
    )
    facts = _read_search(search)
    names = _names(baselines)
    data = _dataset(runs or [], [*names, *files], dataset)
    names = expand_all(names, data)
    fit = _fit(names, typed=True, trusted=trusted)
    settings = _settings(typed, data.items.warm)
    found = _candidates(runs or [], names, files, trusted=trusted)
    result = _compare(found, data, fit, settings, workers)
    result.comparison["command"], result.comparison["search"] = command, facts
    _print_result(result, outputs)
    if explain:
        show_explanations(runs or [], dataset, trusted=trusted)


@dataclass(frozen=True)
class Outputs:
    """Files that a comparison is written to, besides the terminal."""

    html: Path | None
    """HTML page; None: not written."""
    json: Path | None
    """JSON file; None: not written."""
    table: Path | None = None
    """Table of the metrics; None: not written."""

    def write(self, comparison: "ComparisonRecord") -> list[Path]:
        """Write the files, and return their paths."""
        from reprise.atomic_files import write_text
        from reprise.report.comparison_file import write_comparison
        from reprise.report.render import render
        from reprise.report.summary import comparison_table

        if self.json:
            write_comparison(comparison, self.json)
        if self.html:
            write_text(self.html, render(comparison))
        if self.table:
            comparison_table(comparison).write(self.table)
        return [file for file in (self.json, self.html, self.table) if file]


class EvaluationSettings(NamedTuple):
    """How the candidates are evaluated and compared."""

    protocol: "EvaluationProtocol"
    """Targets, candidates and list lengths."""
    options: "EvaluationOptions"
    """Metrics, intervals and batch sizes."""
    metric: str | None
    """Metric of the comparison; None: ndcg at the longest list."""


def _settings(typed: dict[str, Any], items: int) -> EvaluationSettings:
    """Return the settings for options of the command line and a catalogue; the metric may come from any module."""
    from reprise.evaluation.metrics import METRICS, parse_metric, with_metric
    from reprise.evaluation.options import EvaluationOptions
    from reprise.evaluation.protocol import EvaluationProtocol, default_lengths
    from reprise.evaluation.stats.target_sample import TargetSample

    fields = {name: value for name, value in typed.items() if name != "metric"}
    at = _lengths(fields.pop("at")) if "at" in fields else default_lengths(items)
    targets = fields.pop("targets", None)
    protocol = EvaluationProtocol(at=at, sample=targets and TargetSample(targets), **fields)
    if "metric" not in typed:
        return EvaluationSettings(protocol, EvaluationOptions(), None)
    found = parse_metric(typed["metric"], trusted=True)
    return EvaluationSettings(
        protocol, EvaluationOptions(metrics=with_metric(METRICS, found.metric)), found.key
    )


def _candidates(
    runs: list[Path], baselines: list[str], lists: dict[str, Path], *, trusted: bool
) -> "list[CandidateSource]":
    from reprise.report.candidates import find_candidates

    return find_candidates(runs, baselines, lists=lists, trusted=trusted)


def _compare(
    candidates: "list[CandidateSource]",
    data: "SequenceDataset",
    fit: "Fit",
    settings: EvaluationSettings,
    workers: int,
) -> "BuiltComparison":
    from reprise.report.build import build_comparison

    return build_comparison(
        candidates,
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
    """Repeat the evaluation of a report, print it, and check that the numbers are the same."""
    from reprise.report.comparison_file import read_comparison
    from reprise.report.reproduce import (
        check_same,
        dataset_of,
        lists_of,
        options_of,
        protocol_of,
        sources_of,
    )

    before = read_comparison(file)
    runs, names = sources_of(before)
    fit = _fit(names, typed=False, trusted=trusted)
    settings = EvaluationSettings(protocol_of(before), options_of(before, trusted=trusted), before["metric"])
    data = dataset_of(before, runs, moved)
    found = _candidates(runs, names, lists_of(before), trusted=trusted)
    result = _compare(found, data, fit, settings, workers)
    result.comparison["command"], result.comparison["search"] = command, before["search"]
    _print_result(result, outputs)
    typer.echo(f"reproduced {file}: {check_same(before, result.comparison):,} numbers are the same")


def _draw(file: Path, outputs: Outputs) -> None:
    """Write the page of a report without evaluating anything."""
    from reprise.report.comparison_file import read_comparison

    before = read_comparison(file)
    if outputs.html is None or outputs.json is not None:
        raise ConfigError("--only-draw writes only a page; name its file with --html FILE")
    _print_written(outputs.write(before))


def _print_result(result: "BuiltComparison", outputs: Outputs) -> None:
    """Print a comparison and write its files."""
    from reprise.report.summary import content_blocks, summary

    # write the files first, because printing stops early if the output is piped into `head`
    written = outputs.write(result.comparison)
    one = result.reports[0] if len(result.reports) == 1 else None
    alone = "\n\n".join([str(one), *content_blocks(result.comparison)])
    typer.echo(summary(result.comparison) if one is None else alone)
    _print_written(written)


def _print_written(files: list[Path]) -> None:
    for file in files:
        typer.echo(f"wrote {file}")


def _check_table(file: Path) -> None:
    from reprise.evaluation.metrics_table import check_table_file

    check_table_file(file)


def _list_files(texts: list[str]) -> dict[str, Path]:
    """Return the files of `--lists` by name."""
    files: dict[str, Path] = {}
    for text in texts:
        name, separator, file = text.partition("=")
        if not (name and separator and file):
            raise ConfigError(f"--lists takes NAME=FILE, such as theirs=lists.csv; got {text!r}")
        if name in files:
            raise ConfigError(f"--lists names {name!r} twice; give each file its own name")
        files[name] = Path(file)
    return files


def _command(runs: list[Path], *lists: str, **options: object) -> str:
    """Return the command line that the report records."""
    arguments: list[object] = [part for one in lists for part in ("--lists", one)]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        arguments += [option] if value is True else [option, value]
    return command_line("reprise", "evaluate", *runs, *arguments)


def _fit(names: list[str], *, typed: bool, trusted: bool) -> "Fit":
    """Return the function that fits the baselines. Check their names before the evaluation starts."""
    for name in names:
        find_baseline(name, typed=typed, trusted=trusted)
    return partial(fit_baseline, typed=typed, trusted=trusted)


def _dataset(runs: list[Path], names: list[str], moved: Path | None) -> "SequenceDataset":
    from reprise.report.candidates import open_common

    if not runs and not (names and moved):
        raise ConfigError("nothing to evaluate; name a RUN, or --baselines or --lists and --dataset")
    return open_common(runs, moved)


def _read_search(search: Path | None) -> "SearchRecord | None":
    """Read the result of a search before the evaluation starts."""
    from reprise.report.run_facts import read_search

    return None if search is None else read_search(search)


def _check_conflicts(runs: list[Path] | None, baselines: str | None, typed: dict[str, Any]) -> None:
    """Check that no option is used that --from takes from the report."""
    conflicts = [
        *(["a run"] if runs else []),
        *(["--baselines"] if baselines is not None else []),
        *(f"--{name.replace('_', '-')}" for name in typed),
    ]
    if conflicts:
        raise ConfigError(
            f"{conflicts[0]} and --from: the report holds its runs, baselines and options; leave out one of them"
        )


def _names(baselines: str | None) -> list[str]:
    return [name.strip() for name in (baselines or "").split(",") if name.strip()]


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--at takes whole numbers separated by commas, such as 10,20; got {text!r}"
        ) from None
