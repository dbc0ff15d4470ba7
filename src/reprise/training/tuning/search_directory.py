"""A search on disk and as a result: what was asked for, every trial with its value, the best recipe, what mattered.

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

from reprise.config import spec, to_dict
from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError
from reprise.training.checkpoint import write_text
from reprise.training.recipe import Recipe
from reprise.training.run_directory import RunDirectory, differences

FORMAT = 1
FEW = 20
"""Trials below which what they say about the importance of a field is a hint."""
State = Literal["running", "complete", "pruned", "failed"]


@spec
class SearchOptions:
    """What is rarely changed about a search."""

    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no more trials are begun and those under way are left for the next time; none: no limit."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """When a trial ends early: once it is below the median of the others at the same epoch, by Hyperband, or never."""
    keep: Literal["best", "all"] = "best"
    """Of which trials the weights are kept. Recipe, log and metrics are kept of all."""
    progress: bool | None = None
    """True shows a bar on a terminal and a line a trial elsewhere, False nothing; none: a bar on a terminal."""


@dataclass
class Trial:
    """One recipe of a search, and how it did."""

    number: int
    """From 1."""
    fields: dict[str, Any]
    """What was changed in the recipe, by dotted field."""
    state: State = "running"
    """A trial is `pruned` when its metric by epoch fell behind, `failed` when it could not be trained or judged."""
    value: float | None = None
    """The metric on the validation part; for a pruned trial the best of its epochs."""
    seconds: float = 0.0
    """How long it took."""
    values: list[float] = field(default_factory=list)
    """The metric after each epoch."""
    error: str | None = None
    """Why it failed."""
    twin: int | None = None
    """The earlier trial with the same fields, whose value it has: it was not trained again."""
    deaths: int = 0
    """How often in a row its process ended without a word, and without an epoch more than the time before."""

    @property
    def finished(self) -> bool:
        """Whether it has been decided."""
        return self.state != "running"

    def to_dict(self) -> dict[str, Any]:
        """For `tune.json`."""
        told = asdict(self) | {"epochs": len(self.values)}
        return {key: value for key, value in told.items() if key != "deaths" and value is not None}


@dataclass(frozen=True)
class Search:
    """What a search found."""

    metric: str
    """The metric that judged, on the validation part."""
    recipe: Recipe
    """The best recipe: `train(recipe, dataset, ...)` makes its network."""
    best: Trial
    """The trial that had it."""
    trials: list[Trial]
    """All of them, by number."""
    importance: dict[str, float]
    """Shares of the fields in what tells the best trials from the others, largest first; they sum to 1."""
    note: str
    """How importance was measured, and how much it is worth."""

    @property
    def value(self) -> float:
        """The best value of the metric."""
        assert self.best.value is not None
        return self.best.value

    def ranked(self) -> list[Trial]:
        """The finished trials, the best first, then pruned ones, then failed ones."""
        order = {"complete": 0, "pruned": 1, "failed": 2}
        done = [trial for trial in self.trials if trial.finished]
        return sorted(done, key=lambda trial: (order[trial.state], -(trial.value or 0.0), trial.number))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
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
        lines += [f"  {name} = {show(value)}" for name, value in self.best.fields.items()]
        if self.importance:
            lines += ["importance:"]
            lines += [f"  {share:4.0%}  {name}" for name, share in self.importance.items()]
        return "\n".join([*lines, self.note])


def show(value: Any) -> str:
    """The value of a field in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_fields(fields: dict[str, Any]) -> str:
    """Fields in one line, without their sections."""
    return ", ".join(f"{name.rpartition('.')[2]} {show(value)}" for name, value in fields.items())


@dataclass(frozen=True)
class SearchDirectory:
    """Where a search keeps its files. Each is replaced at once, so a kill at any moment loses none."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What the search was told."""
        return self.path / "search.json"

    @property
    def result(self) -> Path:
        """What was found, once trials have ended."""
        return self.path / "tune.json"

    def run(self, number: int) -> RunDirectory:
        """The run of a trial."""
        return RunDirectory(self.path / "trials" / str(number))

    def begin(self, told: dict[str, Any], dataset: SequenceDataset) -> None:
        """Write down what the search was told, or see that it was told the same before.

        Raises:
            ConfigError: another recipe, space, seed or dataset was searched here, or the directory holds something else.
        """
        if self.manifest.exists():
            differing = list(differences(_read(self.manifest), told))
            if differing:
                raise ConfigError(
                    f"{self.path} holds a search with another {differing[0]}; type the same to go on with it, or choose "
                    "another --out"
                )
            return
        there = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        strange = sorted(there - {"trials", f".{self.manifest.name}.partial"})
        if strange:
            raise ConfigError(
                f"{self.path} holds something that is no search (such as {strange[0]}); choose another --out"
            )
        (self.path / "trials").mkdir(parents=True, exist_ok=True)
        where = str(dataset.path.resolve()) if dataset.path else None
        _write(self.manifest, told | {"dataset": where, "reprise": version("reprise")})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While it lasts, no other process searches here.

        Raises:
            ConfigError: one does.
        """
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        with (self.path / "trials" / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"another process searches in {self.path}; use --workers for more at a time, or choose another --out"
                ) from None
            yield

    def trials(self) -> list[Trial]:
        """The trials so far, by number. One whose file is missing counts as begun."""
        numbers = [int(file.stem) for file in self.path.glob("trials/*.json") if file.stem.isdecimal()]
        found = []
        for number in range(1, max(numbers, default=0) + 1):
            file = self.path / "trials" / f"{number}.json"
            found.append(Trial(**_read(file)) if file.exists() else Trial(number, {}))
        return found

    def save(self, trial: Trial) -> None:
        """Write a trial down."""
        _write(self.path / "trials" / f"{trial.number}.json", asdict(trial))

    def drop_weights(self, trial: Trial) -> None:
        """Remove the weights of a trial that nobody will ask for."""
        for file in self.run(trial.number).path.rglob("*.safetensors"):
            file.unlink()

    def write(self, found: Search) -> None:
        """`tune.json` and `best.toml`."""
        _write(self.result, found.to_dict())
        write_text(self.path / "best.toml", tomli_w.dumps(to_dict(found.recipe)))


def _read(file: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtefactError(f"{file} is damaged ({error}); search again in another directory") from None
    return data


def _write(file: Path, data: dict[str, Any]) -> None:
    write_text(file, json.dumps(data, indent=2))
