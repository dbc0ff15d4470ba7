"""The JSON file of a comparison: every number that the report page shows.

All values are plain JSON, so the page can be rendered from the file alone.
"""

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from reprise.argument_checks import file_path
from reprise.atomic_files import write_text
from reprise.errors import ArtefactError, command_line
from reprise.path_kinds import NAMES, kind_of

FORMAT = 1
"""Version of the file format."""
JsonObject = dict[str, Any]
"""A JSON object, such as `Report.to_dict()` or one metric with its interval."""


class ItemRecord(TypedDict):
    """An item with its title."""

    id: int | str
    """Item id of the event log."""
    title: str
    """Title from the item table, or the id if there is none."""


class RankedListRecord(TypedDict):
    """The top-k list of one model in an example."""

    entrant: str
    """Name of the model."""
    items: list[ItemRecord]
    """Items in descending order of their score."""
    rank: int | None
    """Rank of the target, in the middle of its ties; None if it is not a candidate."""


class ExampleRecord(TypedDict):
    """One sequence just before one of its targets, with the lists of all models."""

    sequence: int | str
    """Key of the sequence: a user or session id."""
    earlier: int
    """Number of events before those of `history`."""
    history: list[ItemRecord]
    """Last events before the target, oldest first."""
    next: list[ItemRecord]
    """Next events in order; the first is the target."""
    lists: list[RankedListRecord]
    """One list per model."""


class EpochRecord(TypedDict):
    """One point of a learning curve."""

    epoch: int
    """Number of the epoch, from 1."""
    seconds: float
    """Training time from the start of the run to the end of this epoch, without validation."""
    loss: float
    """Training loss of the epoch."""
    value: float
    """Validation metric after the epoch."""


class TrainingRecord(TypedDict):
    """Training time and learning curves of a model."""

    seconds: float | None
    """Training time: the mean over seeds, or the time to fit a baseline; None if it is not known."""
    metric: str | None
    """Name of the validation metric of the curves; None for a baseline."""
    curve: list[list[EpochRecord]]
    """Learning curves: one per run, or one per member of each ensemble run."""


class CandidateRecord(TypedDict):
    """One model of the comparison with all its seeds."""

    name: str
    """Name of the model, unique within the comparison."""
    runs: list[str]
    """Run directories, one per seed; empty for a baseline."""
    seeds: list[int]
    """Training seed of each run."""
    baseline: str | None
    """Name of the baseline on the command line; None for a trained model."""
    lists: NotRequired[str | None]
    """File with ranked lists of other software; None or missing for a model."""
    recipe: dict[str, Any] | None
    """Recipe of the runs; None for a baseline."""
    training: TrainingRecord
    """Training time and learning curves."""
    evaluated_s: list[float]
    """Duration of each evaluation in seconds."""
    reports: list[JsonObject]
    """One report per seed, as `Report.to_dict()`."""
    pooled: JsonObject
    """Report of all seeds together, as `Report.to_dict()`."""
    content: NotRequired[list[JsonObject] | None]
    """What the first run loses without parts of the content of items, as `ablation_record`; None or missing for a model
    that reads no content."""


class DatasetRecord(TypedDict):
    """Facts about the dataset."""

    path: str | None
    """Dataset directory; None for data in memory."""
    fingerprint: str
    """Hash of the dataset's content."""
    sequences: int
    """Number of sequences."""
    events: int
    """Number of events."""
    items: int
    """Number of items in the training part, which are the candidates."""
    cold: int
    """Number of items that occur only in later parts."""
    first: str
    """Timestamp of the first event, ISO 8601 in UTC."""
    last: str
    """Timestamp of the last event, ISO 8601 in UTC."""
    split: dict[str, Any]
    """Kind of the split and its dates."""


class SearchRecord(TypedDict):
    """The result of a hyper-parameter search, from `reprise tune`."""

    metric: str
    """Metric that compares the trials, on the validation part."""
    trials: list[dict[str, Any]]
    """Trials as `{"number", "state", "fields"}`, with `value` if the trial was evaluated."""
    best: dict[str, Any]
    """The best trial."""
    importance: dict[str, float]
    """Estimated share of each field in the differences between good trials and the others."""
    note: str
    """How importance was estimated, and how reliable the estimate is."""


class ComparisonRecord(TypedDict):
    """The content of a comparison file."""

    format: int
    """Version of the file format, `FORMAT`."""
    reprise: str
    """Version of this library."""
    versions: dict[str, str]
    """Versions of Python and of the libraries that affect the numbers."""
    made: str
    """Time of the evaluation, ISO 8601 in UTC."""
    command: str
    """Command line that wrote the file."""
    dataset: DatasetRecord
    """The dataset of all models."""
    metric: str
    """Metric of the pairwise comparisons; the page sorts the models by it."""
    protocol: dict[str, Any]
    """Evaluation protocol, data and notes, as `Report.protocol_dict()`."""
    options: dict[str, Any]
    """Other evaluation options, as `EvaluationOptions.to_dict()`."""
    words: list[str]
    """The protocol in sentences."""
    entrants: list[CandidateRecord]
    """The models."""
    verdicts: list[dict[str, Any]]
    """Results of the pairwise comparisons, as `ComparisonResult.to_dict()`."""
    examples: list[ExampleRecord]
    """Example sequences with the lists of all models."""
    search: SearchRecord | None
    """Result of a hyper-parameter search, if one was named."""


def write_comparison(comparison: ComparisonRecord, path: str | Path) -> None:
    """Write a comparison as JSON.

    Raises:
        ArtefactError: The file cannot be written; a former file is unchanged.
    """
    write_text(file_path("path", path), json.dumps(comparison, indent=1, ensure_ascii=False) + "\n")


def read_comparison(path: str | Path) -> ComparisonRecord:
    """Read a file that `write_comparison` wrote.

    Raises:
        ArtefactError: The file is missing, is not a comparison, is damaged, or has another format.
        ConfigError: `path` is not a path.
    """
    path = file_path("path", path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(
            f"{path} does not exist; `{command_line('reprise', 'evaluate', 'RUN', '--json', path)}` writes a report"
        ) from None
    except OSError as error:
        kind = kind_of(path)
        what = f"it is {NAMES[kind]}" if kind else error.strerror or error
        raise ArtefactError(
            f"{path} is not a report ({what}); `reprise evaluate RUN --json FILE` writes a report"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not a report ({error})") from None
    if not isinstance(found, dict) or "format" not in found:
        raise ArtefactError(
            f"{path} is not a report of `reprise evaluate`: it has no field 'format'; "
            "`reprise evaluate RUN --json FILE` writes a report"
        )
    if found["format"] != FORMAT:
        raise ArtefactError(f"{path} has report format {found['format']!r}, this version reads {FORMAT}")
    missing = sorted(ComparisonRecord.__required_keys__ - found.keys())
    if missing:
        raise ArtefactError(f"{path} is damaged (no {', '.join(missing)}); evaluate again")
    comparison: ComparisonRecord = found  # type: ignore[assignment]
    return comparison
