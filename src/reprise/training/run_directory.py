"""A run directory: the recipe, the log, the metrics of each epoch, the checkpoint and the best weights.

run.json  recipe.toml  train.log  metrics.jsonl  checkpoint.safetensors  best.safetensors  final.safetensors

An ensemble has no checkpoint; each of its members has a run of its own: members/1  members/2  ...
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from reprise.config import from_dict, to_dict
from reprise.data.dataset import Part, SequenceDataset, Sizes
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.checkpoint import load_weights, read_tensors, write_text
from reprise.training.recipe import Recipe

FORMAT = 1
PARTIAL = "run.partial"
MEMBERS = "members"
"""In an ensemble's directory: where the runs of its members are (they may be there before it is); in its records: how many."""
FITTED = "fitted"
"""In the file of the best weights: how the fit of the transitions went; it had its turn."""
REFIT = "refit"
"""In the file of the best weights: how the last passes went; they had their turn."""
Told = dict[str, Any]
LOGGER = logging.getLogger("reprise.training")


@dataclass(frozen=True)
class RunDirectory:
    """Where a run keeps its files."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What the run was told: recipe, seed, data."""
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        """The place to resume from."""
        return self.path / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best epoch so far."""
        return self.path / "best.safetensors"

    @property
    def final(self) -> Path:
        """The weights of the best epoch once they had learned the validation part, where that was found to help."""
        return self.path / "final.safetensors"

    def member(self, number: int) -> "RunDirectory":
        """The run of one member of an ensemble, counted from 1."""
        return RunDirectory(self.path / MEMBERS / str(number))

    def check(self, told: Told) -> None:
        """See that this run can begin here, or go on.

        Raises:
            ConfigError: another recipe, seed or dataset was trained here, or the directory holds something else.
        """
        if self.manifest.exists():
            _same_or_raise(self.path, self.read(), told)
        elif self.path.exists():
            strange = sorted({entry.name for entry in self.path.iterdir()} - {PARTIAL, MEMBERS})
            if strange:
                raise ConfigError(
                    f"{self.path} holds something that is no run (such as {strange[0]}); choose another --out"
                )

    def begin(self, told: Told, dataset: SequenceDataset) -> None:
        """Write down what the run was told, unless that was done before."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.manifest.exists():
            where = str(dataset.path.resolve()) if dataset.path else None
            text = json.dumps(told | {"dataset": where, "reprise": version("reprise")}, indent=2)
            (self.path / PARTIAL).write_text(text, encoding="utf-8")
            (self.path / PARTIAL).replace(self.manifest)
        (self.path / "recipe.toml").write_text(tomli_w.dumps(told["recipe"]), encoding="utf-8")

    def read(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            ArtefactError: there is none, or it is damaged or of another format.
        """
        try:
            manifest: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtefactError(
                f"{self.path} is not a run (no {self.manifest.name}); make one with `reprise train DATASET --out {self.path}`"
            ) from None
        except ValueError as error:
            raise _damaged(self.manifest, error) from None
        if not isinstance(manifest, dict):
            raise _damaged(self.manifest, "no JSON object")
        if manifest.get("format") != FORMAT:
            raise ArtefactError(
                f"{self.path} has run format {manifest.get('format')!r}, this version reads {FORMAT}"
            )
        missing = {"recipe", "seed", "fingerprint", "sizes", "dataset"} - manifest.keys()
        if missing:
            raise _damaged(self.manifest, f"no {', '.join(sorted(missing))}")
        return manifest

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """One line of JSON an epoch."""
        lines = "".join(json.dumps(record) + "\n" for record in history)
        write_text(self.path / "metrics.jsonl", lines)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """While it lasts, what the training floor logs goes to `train.log` too."""
        handler = logging.FileHandler(self.path / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        level = LOGGER.level
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        try:
            yield
        finally:
            LOGGER.removeHandler(handler)
            LOGGER.setLevel(level)
            handler.close()


def told(recipe: Recipe, dataset: SequenceDataset, seed: int) -> Told:
    """Everything that decides the result of a run."""
    return {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        "seed": seed,
        "fingerprint": dataset.fingerprint,
        "sizes": asdict(dataset.sizes),
    }


def flat(facts: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Nested facts by dotted name."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{place}{name}.") if inner else {f"{place}{name}": value}
    return found


def _damaged(path: Path, why: object) -> ArtefactError:
    return ArtefactError(f"{path} is damaged ({why}); train again in another directory")


def _same_or_raise(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    differing = list(differences(before, now))
    if differing:
        raise ConfigError(
            f"{path} holds a run with another {differing[0]}; train with the same to resume it, or choose another --out"
        )


def differences(before: dict[str, Any], now: dict[str, Any], place: str = "") -> Iterator[str]:
    """What was told before and is told otherwise now, each with both values.

    At the top `before` may hold more: what a file says besides what it was told.
    """
    for key in {**(before if place else {}), **now}:
        old, value = before.get(key), now.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from differences(old, value, f"{place}{key}.")
        elif old != value:
            yield f"{place}{key} ({old!r}, now {value!r})"


def load_run(
    path: str | Path, dataset: str | Path | None = None, *, before: Part = "test"
) -> tuple[NetworkScorer, SequenceDataset]:
    """The network of a run, and the data it was trained on.

    Args:
        path: The run directory.
        dataset: Where the prepared data lies now, when it has moved since.
        before: It knows events before this part only. "valid": as it was chosen, to be asked about the validation part.

    Raises:
        ArtefactError: the directory is no run, is damaged, or has no finished epoch.
        DataError: the data is not there any more, or is not what the run was trained on.
    """
    run = RunDirectory(Path(path))
    manifest = run.read()
    where = dataset or manifest["dataset"]
    if where is None:
        raise DataError(f"{path} was trained on data in memory; say where the data is (--dataset DIR)")
    data = SequenceDataset.open(where)
    if data.fingerprint != manifest["fingerprint"]:
        raise DataError(
            f"{where} is not what {path} was trained on (fingerprint {data.fingerprint}, "
            f"trained on {manifest['fingerprint']}); name the right one with --dataset DIR"
        )
    return load_model(run, data, before), data


def load_model(run: RunDirectory, dataset: SequenceDataset, before: Part = "test") -> NetworkScorer:
    """The network of a run, ready to score, knowing the events before a part. See `load_run`."""
    manifest = run.read()
    if not run.best.exists():
        raise ArtefactError(
            f"{run.path} has no finished epoch yet; run the same `reprise train` again to go on"
        )
    recipe = from_dict(manifest["recipe"], Recipe, trusted=True)
    model: NetworkScorer = recipe.model.build(Sizes(**manifest["sizes"]))
    if before == "test" and run.final.exists():
        model.learned_before = "test"
    weights = run.final if model.learned_before == "test" else run.best
    load_weights(weights, model, read_tensors(weights)[0])
    if model.transitions is not None and model.transitions.silent:
        model.transitions = None  # nothing was found that they are worth
    model.observe(dataset, before)
    model.learned_from = dataset.fingerprint
    return model.eval()
