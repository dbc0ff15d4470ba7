"""A run directory: the recipe, the log, the metrics of each epoch, the checkpoint and the best weights.

run.json  recipe.toml  train.log  metrics.jsonl  checkpoint.safetensors  best.safetensors  final.safetensors
forecast.safetensors  content.safetensors

A run with differential privacy has catalogue.parquet and privacy.json too, and no checkpoint once it is finished.

An ensemble has no checkpoint. Each of its members is a run directory inside it: members/1  members/2  ...
"""

import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w
import torch

from reprise.argument_checks import choice, file_path
from reprise.atomic_files import PARTIAL, unwritable, write_text, writing
from reprise.config import from_dict, to_dict
from reprise.data.dataset import Part, SequenceDataset, Sizes
from reprise.data.public_items import PublicFacts, read_written_items, vocabulary_of, with_public_items
from reprise.directory_lock import LOCK, locked_directory
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.forecast.forecast_heads import ForecastHeads
from reprise.models.items.released_embeddings import align_rows
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.path_kinds import instead, kind_of
from reprise.progress import ProgressBar
from reprise.training.checkpoint import RESUMES, load_weights, read_tensors, write_tensors
from reprise.training.item_content import add_item_content
from reprise.training.manifest_comparison import differences, with_current_names
from reprise.training.recipe import Recipe

FORMAT = 1
NAME_DATASET = "name its directory with --dataset DIR (in Python: dataset=DIR)"
"""End of the message for a run whose dataset is not found."""
FORMER_PARTIAL = "run.partial"
"""Name of an incomplete manifest that a version before 0.2 left when it was killed."""
MEMBERS = "members"
"""Sub-directory with the runs of the members of an ensemble; in the records of an ensemble, the number of members."""
FITTED = "fitted"
"""Metadata key of the best weights: the record of the co-occurrence fit, once it is done."""
COLD = "cold"
"""Metadata key of the best weights: the record of the fit of cold items, once it is done."""
REFIT = "refit"
"""Metadata key of the best weights: the record of the refit on the validation part, once it is done."""
WEIGHTS = "weights"
"""Metadata key of the forecast heads: the SHA-256 of the file of weights that they were fitted to."""
FINISHED = "{} is finished; there is nothing left to train"
"""Message for a finished run that is started again."""
Manifest = dict[str, Any]
"""Content of `run.json`."""
LOGGER = logging.getLogger("reprise.training")


@dataclass(frozen=True)
class RunDirectory:
    """The files of a run."""

    path: Path
    """The directory."""

    @property
    def manifest(self) -> Path:
        """File with the recipe, the seed and the fingerprint of the data."""
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        """File to resume from."""
        return self.path / "checkpoint.safetensors"

    @property
    def initial(self) -> Path:
        """File with the weights and the optimiser state from which training starts. It exists only if the run continues an
        earlier one (`reprise.retraining`)."""
        return self.path / "initial.safetensors"

    @property
    def best(self) -> Path:
        """File with the weights of the best epoch so far."""
        return self.path / "best.safetensors"

    @property
    def final(self) -> Path:
        """File with the weights after the refit on the validation part; it exists only if the refit helped."""
        return self.path / "final.safetensors"

    @property
    def content(self) -> Path:
        """File with the fitted content of the items; it exists only if the network reads it."""
        return self.path / "content.safetensors"

    @property
    def forecast(self) -> Path:
        """File with the forecast heads, if they were fitted."""
        return self.path / "forecast.safetensors"

    @property
    def catalogue(self) -> Path:
        """File with the public items of a run with differential privacy."""
        return self.path / "catalogue.parquet"

    @property
    def privacy(self) -> Path:
        """File with the statement of a run with differential privacy; it exists once the run is finished."""
        return self.path / "privacy.json"

    @property
    def weights(self) -> Path:
        """File with the weights that recommendations use: those of the refit if it helped, otherwise the best ones."""
        return self.final if self.final.exists() else self.best

    def write_forecast(self, heads: ForecastHeads) -> None:
        """Replace the forecast heads. They belong to `weights`, and are not used with others."""
        tensors = {name: torch.from_numpy(array) for name, array in heads.tensors.items()}
        write_tensors(self.forecast, tensors, {WEIGHTS: _checksum(self.weights)})

    def read_forecast(self, weights: Path, width: int, kinds: int) -> ForecastHeads | None:
        """Return the forecast heads for a network with these weights; None if there are none.

        Raises:
            ArtefactError: The file is damaged.
        """
        if not self.forecast.exists():
            return None
        tensors, metadata = read_tensors(self.forecast)
        if metadata.get(WEIGHTS) != _checksum(weights):
            return None
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return ForecastHeads.from_tensors(arrays, width, kinds)

    def member(self, number: int) -> "RunDirectory":
        """Return the run directory of a member of an ensemble, counted from 1."""
        return RunDirectory(self.path / MEMBERS / str(number))

    def check(self, manifest: Manifest) -> None:
        """Check that a run with this manifest can start or resume here.

        Raises:
            ConfigError: The directory holds a run with another recipe, seed or dataset, or files of another kind.
        """
        if self.manifest.exists():
            _check_same(self.path, self.read(), manifest)
        elif self.path.exists():
            own = {
                LOCK,
                MEMBERS,
                "recipe.toml",
                FORMER_PARTIAL,
                self.initial.name,
                self.content.name,
                "warm_start.json",
            }
            check_holds_only(self.path, own, "a run directory")

    def begin(self, manifest: Manifest, dataset: SequenceDataset) -> None:
        """Write the manifest and the recipe. A run that exists keeps them; only the place of a moved dataset is replaced."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        location = str(dataset.path.resolve()) if dataset.path else None
        if self.manifest.exists():
            before = self.read()
            if location and before["dataset"] and kind_of(Path(before["dataset"])) != "dataset":
                write_text(self.manifest, json.dumps(before | {"dataset": location}, indent=2))
        else:
            text = json.dumps(manifest | {"dataset": location, "reprise": version("reprise")}, indent=2)
            write_text(self.path / "recipe.toml", tomli_w.dumps(manifest["recipe"]))
            write_text(self.manifest, text)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory, and lock it against other processes that train in it, as a context manager.

        Raises:
            ConfigError: Another process trains in it.
            ArtefactError: It cannot be created or written.
        """
        with locked_directory(self.path, "trains in"):
            yield

    def read(self) -> Manifest:
        """Return the manifest.

        Raises:
            ArtefactError: The manifest is missing, damaged or of another format version.
        """
        try:
            manifest: Manifest = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise ArtefactError(f"{self.path} is not a run {instead(self.path, 'run')}") from None
        except OSError as error:
            raise ArtefactError(f"cannot read {self.manifest} ({error.strerror or error})") from None
        except (ValueError, RecursionError) as error:
            raise _damaged(self.manifest, error) from None
        if not isinstance(manifest, dict):
            raise _damaged(self.manifest, "not a JSON object")
        if manifest.get("format") != FORMAT:
            raise ArtefactError(
                f"{self.path} has run format {manifest.get('format')!r}, this version reads {FORMAT}"
            )
        missing = {"recipe", "seed", "fingerprint", "sizes", "dataset"} - manifest.keys()
        if missing:
            raise _damaged(self.manifest, f"no {', '.join(sorted(missing))}")
        return manifest

    def open_dataset(self, moved: Path | None = None) -> SequenceDataset:
        """Open the dataset of the run, which has moved since the training if `moved` is given.

        Raises:
            ArtefactError: The directory is not a run, or is damaged.
            DataError: The dataset is missing, or is not the one on which the run was trained.
        """
        manifest = self.read()
        location = moved or manifest["dataset"]
        if location is None:
            raise DataError(f"{self.path} was trained on a dataset in memory; prepare it, and {NAME_DATASET}")
        if moved is None and kind_of(Path(location)) != "dataset":
            raise DataError(
                f"the dataset of {self.path} is not at {location} any more; if it has moved, {NAME_DATASET}"
            )
        data = SequenceDataset.open(location)
        if data.fingerprint != manifest["fingerprint"]:
            raise DataError(
                f"{location} is not the dataset on which {self.path} was trained (its fingerprint is {data.fingerprint}, "
                f"the run has {manifest['fingerprint']}); {NAME_DATASET}"
            )
        return data

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Replace `metrics.jsonl`, which has one line of JSON per epoch."""
        lines = "".join(json.dumps(record) + "\n" for record in history)
        write_text(self.path / "metrics.jsonl", lines, RESUMES)

    def write_privacy(self, statement: dict[str, Any]) -> None:
        """Write the statement of a run with differential privacy."""
        write_text(self.privacy, json.dumps(statement, indent=2) + "\n", RESUMES)

    def read_public_facts(self) -> PublicFacts:
        """Return the statement and the items of a run with differential privacy.

        Raises:
            ArtefactError: A file is damaged.
        """
        try:
            statement: dict[str, Any] = json.loads(self.privacy.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(self.privacy, error) from None
        return PublicFacts(statement, read_written_items(self.catalogue))

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Append the log messages of the training package to `train.log`, as a context manager."""
        with writing(self.path, RESUMES):
            handler = _LogFile(self.path / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        level = LOGGER.level
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        try:
            yield
        finally:
            LOGGER.removeHandler(handler)
            LOGGER.setLevel(level)
            with suppress(OSError):  # a line that could not be written has raised an error before
                handler.close()


class _LogFile(logging.FileHandler):
    """A log file that cannot be written stops the run, instead of printing a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if isinstance(error, OSError):
            raise ArtefactError(unwritable(Path(self.baseFilename), error, RESUMES)) from error
        raise


def check_holds_only(path: Path, own: set[str], what: str) -> None:
    """Check that an output path is a directory with nothing but `own` files and what `write_text` leaves when it is killed.

    Raises:
        ConfigError: The path is a file, or holds something else.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is a file, not {what}; choose another --out")
    names = {entry.name for entry in path.iterdir()}
    foreign = sorted(name for name in names - own if not (name[0] == "." and name.endswith(PARTIAL)))
    if foreign:
        raise ConfigError(f"{path} is not {what} (it holds {foreign[0]}); choose another --out")


def report_line(bar: ProgressBar, text: str) -> None:
    """Write a line of text to the log of the run and to the progress display."""
    LOGGER.info("%s", text)
    bar.line(text)


def manifest_of(recipe: Recipe, dataset: SequenceDataset, seed: int) -> Manifest:
    """Return the manifest of a run: everything that determines its result."""
    return {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        "seed": seed,
        "fingerprint": dataset.fingerprint,
        "sizes": asdict(dataset.sizes),
    }


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by dotted name, such as `training.epochs`."""
    values: dict[str, Any] = {}
    for name, value in nested.items():
        is_section = isinstance(value, Mapping)
        values |= flatten(value, f"{prefix}{name}.") if is_section else {f"{prefix}{name}": value}
    return values


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, why: object) -> ArtefactError:
    return ArtefactError(f"{path} is damaged ({why}); train again in another directory")


def _check_same(path: Path, before: Manifest, now: Manifest) -> None:
    before = before | {"recipe": with_current_names(before["recipe"])}
    differing = list(differences(before, now))
    if differing:
        raise ConfigError(
            f"{path} holds a run with another {differing[0]}; use the former value to resume it, or choose another --out"
        )


def load_run(
    path: str | Path, dataset: str | Path | None = None, *, before: Part = "test", trusted: bool = False
) -> tuple[NetworkScorer, SequenceDataset]:
    """Load the network of a run and open the dataset on which it was trained.

    Args:
        path: The run directory.
        dataset: Directory of the prepared dataset, if it has moved since the training.
        before: The network uses only events before this part. With "valid" it has the weights of the best epoch, before
            any refit, so that it can be evaluated on the validation part.
        trusted: Whether the run may import classes outside this package, which runs their code. Without it, the run may name
            only classes whose modules the program has imported already.

    Raises:
        ArtefactError: The directory is not a run, is damaged, or has no finished epoch.
        ConfigError: A class of the run is not trusted, or cannot be found.
        DataError: The dataset is missing, or is not the one on which the run was trained.
    """
    run = RunDirectory(file_path("path", path))
    choice("before", before, ("valid", "test"))
    data = run.open_dataset(None if dataset is None else file_path("dataset", dataset))
    if run.catalogue.exists():
        data = with_public_items(data, read_written_items(run.catalogue))
    return load_model(run, data, before, trusted=trusted), data


def load_model(
    run: RunDirectory, dataset: SequenceDataset, before: Part = "test", *, trusted: bool = False
) -> NetworkScorer:
    """Load the network of a run in evaluation mode, with the events before a part. See `load_run`."""
    manifest = run.read()
    recipe: Recipe = from_dict(manifest["recipe"], Recipe, trusted=trusted or "imported", stored=True)
    private = recipe.training.privacy is not None
    if not (run.privacy if private else run.best).exists():
        raise ArtefactError(
            f"{run.path} has no finished epoch yet; run the same `reprise train` command again to resume it"
        )
    sizes = Sizes(items=dataset.items.warm) if private else Sizes(**manifest["sizes"])
    model: NetworkScorer = recipe.model.build(sizes)
    model.add_users(dataset)
    with_content = run.content if run.content.exists() else run.member(1).content
    add_item_content(model, dataset, with_content, trusted=trusted or "imported")
    if before == "test" and run.final.exists():
        model.learned_before = "test"
    weights = run.final if model.learned_before == "test" else run.best
    tensors = read_tensors(weights)[0]
    if private:
        model.public_facts = facts = run.read_public_facts()
        tensors = align_rows(tensors, vocabulary_of(facts.table), dataset.items)
    load_weights(weights, model, tensors)
    model.drop_zero_corrections()
    model.count(dataset, before)
    model.learned_from = dataset.fingerprint
    model.forecast = run.read_forecast(weights, model.query_width, len(dataset.kinds))
    return model.eval()
