"""What a comparison of models found, as one structure of JSON: the file, and all that the page shows.

Each value is what `json` reads back, so that a page can be drawn from the file alone.
"""

import json
from pathlib import Path
from typing import Any, TypedDict

from reprise.errors import ArtefactError

FORMAT = 1
Metrics = dict[str, Any]
"""What `Report.to_dict()` gives."""


class ShownItem(TypedDict):
    """An item as a person sees it."""

    id: int | str
    title: str
    """Its title where the item table has one, else its id."""


class ExampleAnswer(TypedDict):
    """What one entrant would have shown in an example."""

    entrant: str
    items: list[ShownItem]
    """Best first."""
    rank: int | None
    """Where the item that came next stands, in the middle of its ties; None where it is no candidate."""


class Example(TypedDict):
    """One sequence at the moment before one of its targets."""

    sequence: int | str
    """Its key."""
    earlier: int
    """How many events came before those in `history`."""
    history: list[ShownItem]
    """The last events, oldest first."""
    next: list[ShownItem]
    """What came then, in order; the first is the target."""
    lists: list[ExampleAnswer]


class Epoch(TypedDict):
    """One point of a learning curve."""

    epoch: int
    seconds: float
    """Training time from the beginning of the run to the end of this epoch, validation left out."""
    loss: float
    value: float
    """The validation metric that chose the epoch."""


class Training(TypedDict):
    """How an entrant came to be."""

    seconds: float | None
    """Of all epochs, the mean over seeds; of a baseline, the fit. None where it is not known."""
    metric: str | None
    """What the curves show: the validation metric that the recipe names."""
    curve: list[list[Epoch]]
    """One for each run; for an ensemble, one for each member of each run."""


class EntrantFacts(TypedDict):
    """One model of the comparison, with all its seeds."""

    name: str
    runs: list[str]
    """Directories, one for each seed; none for a baseline."""
    seeds: list[int]
    baseline: str | None
    """As it is named on the command line."""
    recipe: dict[str, Any] | None
    training: Training
    evaluated_s: list[float]
    """Seconds that each evaluation took."""
    reports: list[Metrics]
    """One for each seed."""
    pooled: Metrics
    """All seeds together."""


class DatasetFacts(TypedDict):
    """What was predicted."""

    path: str | None
    fingerprint: str
    sequences: int
    events: int
    items: int
    """Those of the training part: what is ranked."""
    cold: int
    """Items that only later parts have."""
    first: str
    """Moment of the first event, ISO 8601 in UTC."""
    last: str
    split: dict[str, Any]


class SearchFacts(TypedDict):
    """What a search over recipes tried, as `reprise tune` wrote it down."""

    metric: str
    """What judged its trials, on the validation part."""
    trials: list[dict[str, Any]]
    """Each `{"number", "state", "fields"}`, and `value` where it was judged."""
    best: dict[str, Any]
    """The best of them."""
    importance: dict[str, float]
    """The share of each field in what tells the best trials from the others."""
    note: str
    """How importance was measured, and how much it is worth."""


class Comparison(TypedDict):
    """The whole comparison."""

    format: int
    reprise: str
    versions: dict[str, str]
    """Of the libraries that make the numbers."""
    made: str
    """When, ISO 8601 in UTC."""
    command: str
    """What made it."""
    dataset: DatasetFacts
    metric: str
    """What the verdicts are on, and the page looks at."""
    protocol: dict[str, Any]
    options: dict[str, Any]
    """The rest of what was asked, as `Options` has it."""
    words: list[str]
    """The protocol in sentences."""
    entrants: list[EntrantFacts]
    verdicts: list[dict[str, Any]]
    examples: list[Example]
    search: SearchFacts | None


def write_comparison(study: Comparison, path: Path) -> None:
    """Write it as JSON."""
    path.write_text(json.dumps(study, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_comparison(path: Path) -> Comparison:
    """Read what `write_comparison` wrote.

    Raises:
        ArtefactError: There is no such file, or it is no report, or one of another format.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(
            f"there is no {path}; `reprise evaluate RUN --json {path}` writes a report"
        ) from None
    except ValueError as error:
        raise ArtefactError(f"{path} is no report ({error})") from None
    if not isinstance(found, dict) or "format" not in found:
        raise ArtefactError(
            f"{path} is no report of `reprise evaluate`: it does not say its format; "
            "`reprise evaluate RUN --json FILE` writes one"
        )
    if found["format"] != FORMAT:
        raise ArtefactError(f"{path} has report format {found['format']!r}, this version reads {FORMAT}")
    missing = sorted(Comparison.__required_keys__ - found.keys())
    if missing:
        raise ArtefactError(f"{path} is damaged (no {', '.join(missing)}); evaluate again")
    study: Comparison = found  # type: ignore[assignment]
    return study
