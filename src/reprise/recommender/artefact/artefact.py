"""The saved model: a directory with vectors, ONNX graphs, the item table, a model card and a manifest with checksums.

It is written to a temporary directory and renamed into place. Reading verifies every checksum before anything is used. No file
contains code: class names in the manifest are text.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from reprise.arrays import AnyArray, Float32Array
from reprise.data.history_rules import HistoryRules
from reprise.data.io.arrow_columns import Table, write_table
from reprise.data.popular_items import PopularItems, popular_shares
from reprise.directory_lock import locked_output
from reprise.errors import ArtefactError
from reprise.recommender.artefact.bounded_read import (
    file_checksum,
)
from reprise.recommender.artefact.model_card import HISTORY_RULES, model_card
from reprise.recommender.artefact.popular_soundness import check_popular
from reprise.recommender.artefact.replaced_directory import move_into_place
from reprise.recommender.artefact.signature import SIGNATURE, SigningKey, SigningKeyLike
from reprise.recommender.artefact.soundness import (
    check_content_map,
    check_cooccurrence,
    check_item_users,
    check_items,
    check_repeats,
    check_tensors,
)
from reprise.recommender.runtime.user_map import UserMap
from reprise.recommender.search.inverted_file import InvertedFile

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
LISTS = "search.faiss"
FILES = (VECTORS, STEP, QUERY, ITEMS, CARD)
"""Files that every model has, besides the manifest, which holds their checksums. `LISTS` is that of an approximate search."""
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
ITEM_USERS = "item_users"
SEARCH = "search"
"""Names of tensors: the input vectors, the output vectors (left out if they are the same), and prefixes for the arrays of the
initial state, of the co-occurrence tables, of the repeat head, of the popular items, of the forecast heads, of user attributes,
of the fitted content and of the map from it to vectors; the number of users of each item;
and the key of the approximate search in the metadata."""

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
    lists: InvertedFile | None = None
    """Candidate source of an approximate search, whose parameters are in the metadata; None: the search is exact."""

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
    def item_users(self) -> AnyArray | None:
        """Number of users with events of each item in the log, [I]; None in models of earlier versions."""
        return self.tensors.get(ITEM_USERS)

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

    def with_search(self, lists: InvertedFile | None, facts: Metadata | None) -> "Artefact":
        """Return the same artefact with an approximate search and its facts; None: with an exact search."""
        metadata = {name: value for name, value in self.metadata.items() if name != SEARCH}
        return replace(self, metadata=metadata | ({SEARCH: facts} if facts else {}), lists=lists)


def vectors_checksum(vectors_ID: Float32Array) -> str:
    """Return the SHA-256 of item vectors."""
    return hashlib.sha256(np.ascontiguousarray(vectors_ID).data).hexdigest()


def write(artefact: Artefact, path: Path, sign: SigningKeyLike = None) -> Artefact:
    """Write an artefact to a directory, and return it. An artefact at this path is replaced.

    Args:
        artefact: The artefact.
        path: The directory.
        sign: Private key that signs the manifest; None: the model is not signed.

    Raises:
        ArtefactError: the path holds something else, a number of the artefact is not finite, its metadata has values that
            JSON does not have, or a file cannot be written.
        ConfigError: another process saves a model at this path, or the private key cannot be used.
    """
    check_content(artefact)
    key = None if sign is None else SigningKey.of(sign)
    target = path.absolute()
    partial = target.with_name(f".{target.name}.partial")
    try:
        _check_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked_output(path, "saves a model as"):
            shutil.rmtree(partial, ignore_errors=True)  # a save that was killed may have left it
            try:
                partial.mkdir()
                _write_files(artefact, partial, key)
                move_into_place(partial, path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ArtefactError(
            f"cannot write {path} ({error.strerror or error}); free some space or choose another path"
        ) from error
    return artefact


def check_content(artefact: Artefact) -> None:
    """Raise `ArtefactError` if the files do not belong together or cannot be served. Correct checksums do not exclude that."""
    scored = artefact.scored
    check_tensors(artefact.tensors, scored)
    check_cooccurrence(artefact.cooccurrence, artefact.initial, scored)
    check_repeats(artefact.repeats, artefact.initial, scored, len(artefact.metadata["data"]["kinds"]))
    check_content_map(artefact.metadata.get("content"), artefact.content_map, artefact.input_ID.shape[1])
    check_items(artefact.items, scored)
    check_item_users(artefact.item_users, scored)
    _ = artefact.forecast  # raises an error if the heads do not fit the vectors and the kinds
    if "popular" in artefact.metadata:
        popular = artefact._tensors_with_prefix(POPULAR)
        check_popular(artefact.metadata["popular"], popular, scored)


def _write_files(artefact: Artefact, folder: Path, sign: SigningKey | None) -> None:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    files = {
        VECTORS: save(dict(artefact.tensors)),
        STEP: artefact.step,
        QUERY: artefact.query,
        ITEMS: write_table(artefact.items),
    }
    try:
        files[CARD] = model_card(artefact.metadata, created).encode()
        entries = {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in files.items()}
        if artefact.lists is not None:
            artefact.lists.write(folder / LISTS)
            entries[LISTS] = file_checksum(folder / LISTS)
        manifest = _manifest(artefact.metadata, created, entries)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtefactError(
            f"the description of the model cannot be written as JSON ({error}); pass texts, numbers, lists and dictionaries "
            "as training, report and attribution"
        ) from error
    signature = {SIGNATURE: sign.sign(manifest)} if sign is not None else {}
    for name, data in (files | {MANIFEST: manifest} | signature).items():
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _manifest(metadata: Metadata, created: str, entries: Mapping[str, Any]) -> bytes:
    """Return the content of the manifest of a model with these entries of its files."""
    manifest = {
        "format": FORMAT,
        "reprise": version("reprise"),
        "created": created,
        "facts": metadata,
        "files": entries,
    }
    text = json.dumps(manifest | {"sha256": manifest_checksum(manifest)}, indent=2, ensure_ascii=False)
    return text.encode()


def _check_target(path: Path) -> None:
    if not path.exists():
        return
    unknown = (
        sorted({file.name for file in path.iterdir()} - {MANIFEST, SIGNATURE, LISTS, *FILES, *OLD_FILES})
        if path.is_dir()
        else [f"{path.name} itself"]
    )
    if unknown or (any(path.iterdir()) and not (path / MANIFEST).exists()):
        reason = unknown[0] if unknown else f"no {MANIFEST}"
        raise ArtefactError(
            f"{path} exists and is not a saved model ({reason}); choose another path or remove it"
        )


def sha256(data: bytes) -> str:
    """Compute the SHA-256 checksum of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def manifest_checksum(manifest: dict[str, Any]) -> str:
    """Return the checksum of a manifest's content, which does not depend on its layout."""
    return sha256(json.dumps(manifest, sort_keys=True).encode())
