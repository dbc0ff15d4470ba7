"""The files and the result of a search: its arguments, each trial with its value, and the best recipe.

search.json  trials/1.json  trials/1/ (a run)  trials/2.json  ...  tune.json  best.toml
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field

from reprise.atomic_files import write_text, writing
from reprise.config import spec, to_dict
from reprise.data.dataset import SequenceDataset
from reprise.directory_lock import LOCK, locked_directory
from reprise.errors import ArtefactError, ConfigError
from reprise.training.manifest_comparison import differences, with_current_names
from reprise.training.recipe import Recipe
from reprise.training.run_directory import Manifest, RunDirectory, check_holds_only
from reprise.training.tuning.search_space import current_name

FORMAT = 1
CONTINUES = "run the same command again: it keeps the finished trials"
"""End of the message for a file of a search that cannot be written."""
FEW_TRIALS = 20
"""Number of trials below which the importance of fields is only a hint."""
State = Literal["running", "complete", "pruned", "failed"]
_FORMER_KEYS = {"twin": "duplicate_of", "deaths": "crashes"}
"""Former keys in the files of trials, and their current names."""


@spec
class SearchOptions:
    """Options of a search that are rarely changed."""

    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no trial is started and running trials are left for the next call; None: no limit."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """When a trial ends early: if it is below the median of the others at the same epoch, by Hyperband, or never."""
    keep: Literal["best", "all"] = "best"
    """Whether the weights of the best trial or of all trials are kept. Recipe, log and metrics are always kept."""
    progress: bool | None = None
    """True shows a bar on a terminal and one line per trial elsewhere, False nothing, None a bar on a terminal only."""


@dataclass
class Trial:
    """One recipe of a search, with its result."""

    number: int
    """Number of the trial, from 1."""
    fields: dict[str, Any]
    """Values of the searched fields, by dotted name."""
    state: State = "running"
    """`pruned` if the metric of an epoch was too low, `failed` if training or evaluation raised an error."""
    value: float | None = None
    """Metric on the validation part; for a pruned trial that of its best epoch."""
    seconds: float = 0.0
    """Duration of the trial in seconds."""
    values: list[float] = field(default_factory=list)
    """Metric after each epoch."""
    error: str | None = None
    """Error message of a failed trial."""
    duplicate_of: int | None = None
    """Number of the earlier trial with the same fields, whose result was copied instead of training again."""
    crashes: int = 0
    """How many times in a row the process of the trial died without finishing another epoch."""

    @property
    def finished(self) -> bool:
        """Whether the trial is complete, pruned or failed."""
        return self.state != "running"

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as an entry of `tune.json`."""
        entry = asdict(self) | {"epochs": len(self.values)}
        return {key: value for key, value in entry.items() if key != "crashes" and value is not None}


@dataclass(frozen=True)
class Search:
    """The result of a search."""

    metric: str
    """Metric on the validation part that compared the trials."""
    recipe: Recipe
    """Best recipe, for `train(recipe, dataset, ...)`."""
    best: Trial
    """Trial with the best recipe."""
    trials: list[Trial]
    """All trials, by number."""
    importance: dict[str, float]
    """Share of each field in the difference between the best trials and all trials, largest first; they sum to 1."""
    note: str
    """How the importance was estimated, and from how many trials."""

    @property
    def value(self) -> float:
        """Best value of the metric."""
        assert self.best.value is not None
        return self.best.value

    def ranked(self) -> list[Trial]:
        """Return the finished trials: complete ones with the best first, then pruned ones, then failed ones."""
        order = {"complete": 0, "pruned": 1, "failed": 2}
        done = [trial for trial in self.trials if trial.finished]
        return sorted(done, key=lambda trial: (order[trial.state], -(trial.value or 0.0), trial.number))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the content of `tune.json`."""
        return {
            "format": FORMAT,
            "metric": self.metric,
            "trials": [trial.to_dict() for trial in self.trials],
            "best": self.best.to_dict() | {"recipe": to_dict(self.recipe)},
            "importance": self.importance,
            "note": self.note,
        }

    def __str__(self) -> str:
        counts = {
            state: sum(trial.state == state for trial in self.trials)
            for state in ("complete", "pruned", "failed")
        }
        counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        lines = [f"{len(self.ranked())} trials ({counted}); best valid {self.metric} {self.value:.4f}"]
        lines += [f"  {name} = {format_value(value)}" for name, value in self.best.fields.items()]
        if self.importance:
            lines += ["importance:"]
            lines += [f"  {share:4.0%}  {name}" for name, share in self.importance.items()]
        return "\n".join([*lines, self.note])


def format_value(value: Any) -> str:
    """Return the value of a field as short text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_fields(fields: dict[str, Any]) -> str:
    """Return fields as one line of text, without the names of their sections."""
    return ", ".join(f"{name.rpartition('.')[2]} {format_value(value)}" for name, value in fields.items())


@dataclass(frozen=True)
class SearchDirectory:
    """The files of a search. Each file is replaced atomically, so a search can be killed at any time."""

    path: Path
    """The directory."""

    @property
    def manifest(self) -> Path:
        """File with the arguments of the search."""
        return self.path / "search.json"

    @property
    def result(self) -> Path:
        """File with the result, once a trial is complete."""
        return self.path / "tune.json"

    def run(self, number: int) -> RunDirectory:
        """Return the run directory of a trial."""
        return RunDirectory(self.path / "trials" / str(number))

    def check(self, manifest: Manifest, recipe: Recipe) -> None:
        """Check that a search with this manifest can start or resume here.

        Raises:
            ConfigError: The directory holds a search with another recipe, space, seed or dataset, or files of another kind.
        """
        if self.manifest.exists():
            before = with_current_names(_read(self.manifest))
            before["space"] = {
                current_name(recipe, field): part for field, part in before.get("space", {}).items()
            }
            differing = list(differences(before, manifest))
            if differing:
                raise ConfigError(
                    f"{self.path} holds a search with another {differing[0]}; use the former value to resume it, or choose "
                    "another --out"
                )
        elif self.path.exists():
            check_holds_only(self.path, {LOCK, "trials"}, "a search directory")

    def begin(self, manifest: Manifest, dataset: SequenceDataset) -> None:
        """Write the manifest; a search that exists keeps it."""
        if not self.manifest.exists():
            with writing(self.path):
                (self.path / "trials").mkdir(exist_ok=True)
            location = str(dataset.path.resolve()) if dataset.path else None
            _write(self.manifest, manifest | {"dataset": location, "reprise": version("reprise")})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory, and lock it against other processes that search in it, as a context manager.

        Raises:
            ConfigError: Another process searches in it.
            ArtefactError: It cannot be created or written.
        """
        remedy = "use --workers to run several trials at a time, or choose another --out"
        with locked_directory(self.path, "searches in", remedy):
            yield

    def trials(self, recipe: Recipe) -> list[Trial]:
        """Return the trials so far of the search for `recipe`, by number.

        A trial whose file is missing counts as started.
        """
        numbers = [int(file.stem) for file in self.path.glob("trials/*.json") if file.stem.isdecimal()]
        found = []
        for number in range(1, max(numbers, default=0) + 1):
            file = self.path / "trials" / f"{number}.json"
            found.append(_read_trial(file, recipe) if file.exists() else Trial(number, {}))
        return found

    def save(self, trial: Trial) -> None:
        """Write the file of a trial."""
        _write(self.path / "trials" / f"{trial.number}.json", asdict(trial))

    def drop_weights(self, trial: Trial) -> None:
        """Delete the weights of a trial."""
        for file in self.run(trial.number).path.rglob("*.safetensors"):
            file.unlink()

    def write(self, found: Search) -> None:
        """Write `tune.json` and `best.toml`."""
        _write(self.result, found.to_dict())
        write_text(self.path / "best.toml", tomli_w.dumps(to_dict(found.recipe)), CONTINUES)


def _read_trial(file: Path, recipe: Recipe) -> Trial:
    content = {_FORMER_KEYS.get(key, key): with_current_names(value) for key, value in _read(file).items()}
    fields = {current_name(recipe, field): value for field, value in content.pop("fields").items()}
    return Trial(fields=fields, **content)


def _read(file: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ArtefactError(f"{file} is damaged ({error}); search again in another directory") from None
    return data


def _write(file: Path, data: dict[str, Any]) -> None:
    write_text(file, json.dumps(data, indent=2), CONTINUES)
