"""The saved model: a directory with vectors, ONNX graphs, the item table, a model card and a manifest with checksums.

It is written to a temporary directory and renamed into place. Reading verifies every checksum before anything is used. No file
contains code: class names in the manifest are text.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load, save

from reprise.arrays import AnyArray, Float32Array
from reprise.data.history_rules import HistoryRules
from reprise.data.io.arrow_columns import Table, read_table, write_table
from reprise.data.popular_items import PopularItems, popular_shares
from reprise.directory_lock import locked_output
from reprise.errors import ArtefactError, DataError, command_line
from reprise.path_kinds import instead
from reprise.recommender.artefact.bounded_read import COPY_AGAIN, MAX_MANIFEST_BYTES, read_bounded
from reprise.recommender.artefact.model_card import HISTORY_RULES, model_card
from reprise.recommender.artefact.popular_soundness import check_popular
from reprise.recommender.artefact.soundness import (
    check_content_map,
    check_cooccurrence,
    check_items,
    check_manifest,
    check_repeats,
    check_tensors,
)
from reprise.recommender.runtime.user_map import UserMap

if TYPE_CHECKING:
    from reprise.forecast.forecast_heads import ForecastHeads

FORMAT = 5
"""Version of the format that is written. Format 5 may have the content of items, popular items of the moment and forecast
heads, which earlier versions of the package would ignore or refuse."""
READABLE_FORMATS = (2, 3, 4, 5)
"""Versions of the format that can be read."""
MANIFEST = "manifest.json"
VECTORS = "vectors.safetensors"
STEP = "step.onnx"
QUERY = "query.onnx"
ITEMS = "items.parquet"
CARD = "README.md"
FILES = (VECTORS, STEP, QUERY, ITEMS, CARD)
"""Files that every model has, besides the manifest, which holds their checksums."""
OLD_FILES = ("int8_matmul.onnx",)
"""Files of models from earlier versions that are not read any more."""

INPUT = "input"
OUTPUT = "output"
INITIAL = "initial."
TRANSITIONS = "transitions."
REPEATS = "repeats."
POPULAR = "popular."
FORECAST = "forecast."
USERS = "users."
CONTENT = "content."
CONTENT_MAP = "content_map."
"""Names of tensors: the input vectors, the output vectors (left out if they are the same), and prefixes for the arrays of the
initial state, of the co-occurrence tables, of the repeat head, of the popular items, of the forecast heads, of user attributes,
of the fitted content and of the map from it to vectors."""

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Artefact:
    """Everything a recommender needs, in memory."""

    metadata: Metadata
    """Description of the model: `name`, `spec`, `sizes` and `data`, and optionally `popular`, `training`, `report`,
    `attribution` and `golden`, the requests and results of the self-check."""
    tensors: Mapping[str, AnyArray]
    """Arrays by name: `input` [I, D], optionally `output` [I, D'], an `initial.<name>` [1, ...] for each array of the state,
    and optionally a `transitions.<name>` for each field of `CooccurrenceTables`, a `repeats.<name>` for each of
    `RepeatTables`, a `popular.<name>` for each array of `PopularItems` and a `forecast.<name>` for each of `ForecastHeads`."""
    step: bytes
    """ONNX graph from `x`, the used ones of `item`, `time_s`, `kind` and `value`, and `state.<name>` to `next.<name>`."""
    query: bytes
    """ONNX graph from `state.<name>` and, if it is used, `now_s` to `query`."""
    items: Table
    """Item table in index order."""

    @property
    def input_ID(self) -> Float32Array:
        """Vectors that the network reads when an event has the item."""
        return self.tensors[INPUT]

    @property
    def output_ID(self) -> Float32Array:
        """Output vectors of the items: their products with a query are scores."""
        return self.tensors.get(OUTPUT, self.tensors[INPUT])

    @property
    def initial(self) -> dict[str, AnyArray]:
        """State of one user without events, each array [1, ...]."""
        return self._tensors_with_prefix(INITIAL)

    @property
    def cooccurrence(self) -> dict[str, AnyArray]:
        """Fields of `CooccurrenceTables`; empty if the network adds no co-occurrence logits."""
        return self._tensors_with_prefix(TRANSITIONS)

    @property
    def repeats(self) -> dict[str, AnyArray]:
        """Fields of `RepeatTables`; empty if the network has no repeat head."""
        return self._tensors_with_prefix(REPEATS)

    @cached_property
    def forecast(self) -> "ForecastHeads | None":
        """Heads for the kind and the time of the next event; None if the network has none.

        Raises:
            ArtefactError: an array is missing, has another shape, or has a number that is not finite.
        """
        tensors = self._tensors_with_prefix(FORECAST)
        if not tensors:
            return None
        # imported here: it needs scipy, which recommendations do not need
        from reprise.forecast.forecast_heads import ForecastHeads

        kinds = len(self.metadata["data"]["kinds"])
        return ForecastHeads.from_tensors(tensors, self.output_ID.shape[1], kinds)

    @property
    def popular(self) -> PopularItems:
        """Popularity of the items for users without events; in models of earlier versions, the shares of training events."""
        facts = self.metadata.get("popular")
        if facts is None:
            return PopularItems.static(popular_shares(self.items, self.scored))
        return PopularItems.restore(facts, self._tensors_with_prefix(POPULAR))

    @property
    def user_map(self) -> UserMap | None:
        """Map from attributes of users to vectors; None if the network does not read attributes."""
        return UserMap.restore(self.metadata.get("users"), self._tensors_with_prefix(USERS), self.initial)

    @property
    def content(self) -> dict[str, AnyArray]:
        """Arrays of the fitted content of items; empty if the network knows items by their ids only."""
        return self._tensors_with_prefix(CONTENT)

    @property
    def content_map(self) -> dict[str, AnyArray]:
        """Arrays of `ContentVectors`: `projection` [F, D], `popularity` [F] and `numbers` [4]; empty without content."""
        return self._tensors_with_prefix(CONTENT_MAP)

    @property
    def scored(self) -> int:
        """Number of items with vectors, I: the warm ones, or all if the network reads their content."""
        sizes = self.metadata["sizes"]
        return int(sizes.get("scored", sizes["items"]))

    @property
    def history_rules(self) -> HistoryRules:
        """Rules by which the log was cleaned; a model that has no record of them changes no history."""
        return HistoryRules.from_dict(self.metadata["data"].get(HISTORY_RULES))

    def _tensors_with_prefix(self, prefix: str) -> dict[str, AnyArray]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def with_metadata(self, **metadata: Any) -> "Artefact":
        """Return the same artefact with these entries of the metadata replaced; entries that are None stay as they are."""
        given = {name: value for name, value in metadata.items() if value is not None}
        return replace(self, metadata=self.metadata | given)


def write(artefact: Artefact, path: Path) -> None:
    """Write an artefact to a directory. An artefact at this path is replaced.

    Raises:
        ArtefactError: the path holds something else, a number of the artefact is not finite, its metadata has values that
            JSON does not have, or a file cannot be written.
        ConfigError: another process saves a model at this path.
    """
    _check_content(artefact)
    target = path.absolute()
    partial = target.with_name(f".{target.name}.partial")
    try:
        _check_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked_output(path, "saves a model as"):
            shutil.rmtree(partial, ignore_errors=True)  # a save that was killed may have left it
            try:
                partial.mkdir()
                _write_files(artefact, partial)
                _move_into_place(partial, path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ArtefactError(
            f"cannot write {path} ({error.strerror or error}); free some space or choose another path"
        ) from error


def read(path: Path) -> Artefact:
    """Read an artefact, verify its checksums, and check that its content can be served.

    Raises:
        ArtefactError: a file is missing, truncated or altered, is not a regular file, or does not fit the others; a number is
            not finite; or the format version cannot be read.
    """
    manifest = _read_manifest(path)
    listed = manifest["files"]
    files = {name: _verified(path / name, listed[name]) for name in FILES}
    metadata = manifest["facts"]
    try:
        artefact = Artefact(
            metadata=metadata,
            tensors=_read_tensors(files[VECTORS]),
            step=files[STEP],
            query=files[QUERY],
            items=read_table(files[ITEMS], rows=metadata["data"]["items"]),
        )
        _check_content(artefact)
    except (DataError, ArtefactError) as error:
        raise ArtefactError(f"the model {path} cannot be used: {error}") from error
    return artefact


def _read_tensors(data: bytes) -> dict[str, AnyArray]:
    try:
        tensors: dict[str, AnyArray] = load(data)
    except (
        Exception
    ) as error:  # safetensors raises its own class, and others for types that NumPy does not have
        raise ArtefactError(f"{VECTORS} cannot be read ({error}); {COPY_AGAIN}") from error
    return tensors


def _check_content(artefact: Artefact) -> None:
    """Raise `ArtefactError` if the files do not belong together or cannot be served. Correct checksums do not exclude that."""
    scored = artefact.scored
    check_tensors(artefact.tensors, scored)
    check_cooccurrence(artefact.cooccurrence, artefact.initial, scored)
    check_repeats(artefact.repeats, artefact.initial, scored, len(artefact.metadata["data"]["kinds"]))
    check_content_map(artefact.metadata.get("content"), artefact.content_map, artefact.input_ID.shape[1])
    check_items(artefact.items, scored)
    _ = artefact.forecast  # raises an error if the heads do not fit the vectors and the kinds
    if "popular" in artefact.metadata:
        popular = artefact._tensors_with_prefix(POPULAR)
        check_popular(artefact.metadata["popular"], popular, scored)


def _write_files(artefact: Artefact, folder: Path) -> None:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    files = {
        VECTORS: save(dict(artefact.tensors)),
        STEP: artefact.step,
        QUERY: artefact.query,
        ITEMS: write_table(artefact.items),
    }
    try:
        files[CARD] = model_card(artefact.metadata, created).encode()
        manifest = _manifest(artefact.metadata, created, files)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtefactError(
            f"the description of the model cannot be written as JSON ({error}); pass texts, numbers, lists and dictionaries "
            "as training, report and attribution"
        ) from error
    for name, data in (files | {MANIFEST: manifest}).items():
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _manifest(metadata: Metadata, created: str, files: Mapping[str, bytes]) -> bytes:
    """Return the content of the manifest of a model with these files."""
    manifest = {
        "format": FORMAT,
        "reprise": version("reprise"),
        "created": created,
        "facts": metadata,
        "files": {name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in files.items()},
    }
    text = json.dumps(manifest | {"sha256": _manifest_checksum(manifest)}, indent=2, ensure_ascii=False)
    return text.encode()


def _check_target(path: Path) -> None:
    if not path.exists():
        return
    unknown = (
        sorted({file.name for file in path.iterdir()} - {MANIFEST, *FILES, *OLD_FILES})
        if path.is_dir()
        else [f"{path.name} itself"]
    )
    if unknown or (any(path.iterdir()) and not (path / MANIFEST).exists()):
        reason = unknown[0] if unknown else f"no {MANIFEST}"
        raise ArtefactError(
            f"{path} exists and is not a saved model ({reason}); choose another path or remove it"
        )


def _move_into_place(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`. No call swaps two directories on every system, so an old model is renamed first."""
    old = _backup(path)
    replaced = path.exists()
    if replaced:
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        if replaced:
            old.rename(path)
        raise
    with suppress(OSError):
        shutil.rmtree(old)


def find_backup(path: Path) -> Path | None:
    """Return the backup of the model at this path, if a save was killed between its two renames; otherwise None."""
    old = _backup(path)
    return old if old.exists() and not path.exists() else None


def _backup(path: Path) -> Path:
    path = path.absolute()  # `.` has no name
    return path.with_name(f".{path.name}.old")


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest = json.loads(read_bounded(file, MAX_MANIFEST_BYTES))
        json.dumps(manifest, ensure_ascii=False).encode()  # fails if a text is not Unicode
    except (FileNotFoundError, NotADirectoryError):
        if old := find_backup(path):
            raise ArtefactError(
                f"{path} is missing: a save was killed while it replaced the model, and the previous model is {old}; "
                f"rename that to {path}, or save or export the model again"
            ) from None
        raise ArtefactError(f"{path} is not a saved model {instead(path, 'model')}") from None
    except ArtefactError:  # it is a ValueError too
        raise
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{file} is damaged ({error}); {COPY_AGAIN}") from None
    if not isinstance(manifest, dict):
        raise ArtefactError(f"{file} is damaged (not a JSON object); {COPY_AGAIN}")
    checksum = manifest.pop("sha256", None)
    if manifest.get("format") not in READABLE_FORMATS:
        again = command_line("reprise", "export", "RUN", "--out", path)
        raise ArtefactError(
            f"{path} has model format {manifest.get('format')!r}, and this version of reprise reads "
            f"{READABLE_FORMATS[0]} to {READABLE_FORMATS[-1]}; export the model again with `{again}`, "
            f"or install reprise {manifest.get('reprise', '(unknown)')}, which wrote it"
        )
    if checksum != _manifest_checksum(manifest):
        raise ArtefactError(f"{file} was changed after it was saved (its checksum differs); {COPY_AGAIN}")
    check_manifest(path, manifest, FILES)
    return manifest


def _verified(file: Path, listed: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file after comparing them with its entry in the manifest."""
    try:
        data = read_bounded(file, listed["bytes"])
    except FileNotFoundError:
        raise ArtefactError(f"{file} is missing; {COPY_AGAIN}") from None
    if len(data) != listed["bytes"]:
        raise ArtefactError(f"{file} has {len(data)} bytes instead of {listed['bytes']}; {COPY_AGAIN}")
    if _sha256(data) != listed["sha256"]:
        raise ArtefactError(f"{file} was changed after it was saved (its checksum differs); {COPY_AGAIN}")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _manifest_checksum(manifest: dict[str, Any]) -> str:
    """Return the checksum of a manifest's content, which does not depend on its layout."""
    return _sha256(json.dumps(manifest, sort_keys=True).encode())
