"""The directory that ships: vectors, step, query, items, a manifest with their checksums, and a model card.

It is written beside its place and renamed into it, and nothing of it is used before every checksum has been verified.
Nothing in it is code: classes are only names.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

from reprise.arrays import AnyArray, Float32Array
from reprise.data.io.arrow_columns import Table, read_table, write_table
from reprise.errors import ArtefactError
from reprise.recommender.artefact.model_card import card

FORMAT = 2
MANIFEST = "manifest.json"
VECTORS = "vectors.safetensors"
STEP = "step.onnx"
QUERY = "query.onnx"
ITEMS = "items.parquet"
CARD = "README.md"
FILES = (VECTORS, STEP, QUERY, ITEMS, CARD)
"""All files but the manifest, which holds their checksums."""

INPUT = "input"
OUTPUT = "output"
INITIAL = "initial."
TRANSITIONS = "transitions."
"""Names of the tensors: vectors that are read, vectors that score (left out when they are the same), initial states, and
the tables of counted transitions."""

AGAIN = "copy the whole directory again, or export the model again"
Facts = dict[str, Any]


@dataclass(frozen=True)
class Artefact:
    """Everything a recommender needs, in memory."""

    facts: Facts
    """`name`, `spec`, `sizes`, `data`, and perhaps `training`, `report` and `attribution`: what the card tells; and `golden`,
    questions with their answers."""
    tensors: Mapping[str, AnyArray]
    """`input` [I, D], perhaps `output` [I, D'], an `initial.<name>` [1, ...] for each part of the state, and perhaps the
    `transitions.<name>`, fields of `Transitions`."""
    step: bytes
    """ONNX: `x`, those of `item`, `time_s`, `kind` and `value` that are read, and `state.<name>` to `next.<name>`."""
    query: bytes
    """ONNX: `state.<name>` and, where it is used, `now_s` to `query`."""
    items: Table
    """The item table in index order."""

    @property
    def input_ID(self) -> Float32Array:
        """The vectors that are read."""
        return self.tensors[INPUT]

    @property
    def output_ID(self) -> Float32Array:
        """The vectors that score."""
        return self.tensors.get(OUTPUT, self.tensors[INPUT])

    @property
    def initial(self) -> dict[str, AnyArray]:
        """The state of one user without events."""
        return self._tensors_of(INITIAL)

    @property
    def transitions(self) -> dict[str, AnyArray]:
        """The tables of counted transitions; empty where the network adds none."""
        return self._tensors_of(TRANSITIONS)

    def _tensors_of(self, prefix: str) -> dict[str, AnyArray]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def with_facts(self, **facts: Any) -> "Artefact":
        """The same with these facts, those that are None left as they are."""
        given = {name: fact for name, fact in facts.items() if fact is not None}
        return replace(self, facts=self.facts | given)


def write(artefact: Artefact, path: Path) -> None:
    """Write an artefact to a directory; what lies there is replaced if it is an artefact too.

    Raises:
        ArtefactError: something else lies there, or the disk does not take the files.
    """
    _check_target(path)
    beside = path.with_name(f".{path.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)  # what a killed save left
    try:
        beside.mkdir(parents=True)
        _write_files(artefact, beside)
        _move_into_place(beside, path)
    except OSError as error:
        raise ArtefactError(
            f"cannot write {path} ({error.strerror or error}); make room or choose another place"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read(path: Path) -> Artefact:
    """Read and verify what `write` wrote.

    Raises:
        ArtefactError: a file is missing, truncated or altered, or the format is another one.
    """
    manifest = _read_manifest(path)
    files = {name: _verified(path / name, manifest["files"].get(name)) for name in FILES}
    artefact = Artefact(
        facts=manifest["facts"],
        tensors=load(files[VECTORS]),
        step=files[STEP],
        query=files[QUERY],
        items=read_table(files[ITEMS]),
    )
    _check_sizes(artefact, path)
    return artefact


def _write_files(artefact: Artefact, beside: Path) -> None:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    files = {
        VECTORS: save(dict(artefact.tensors)),
        STEP: artefact.step,
        QUERY: artefact.query,
        ITEMS: write_table(artefact.items),
        CARD: card(artefact.facts, created).encode(),
    }
    manifest = {
        "format": FORMAT,
        "reprise": version("reprise"),
        "created": created,
        "facts": artefact.facts,
        "files": {name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in files.items()},
    }
    text = json.dumps(manifest | {"sha256": _seal(manifest)}, indent=2, ensure_ascii=False)
    for name, data in (files | {MANIFEST: text.encode()}).items():
        with (beside / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _check_target(path: Path) -> None:
    if not path.exists():
        return
    strange = (
        sorted({file.name for file in path.iterdir()} - {MANIFEST, *FILES})
        if path.is_dir()
        else [f"{path.name} itself"]
    )
    if strange or (any(path.iterdir()) and not (path / MANIFEST).exists()):
        what = strange[0] if strange else f"no {MANIFEST}"
        raise ArtefactError(
            f"{path} exists and is not a saved model ({what}); choose another place or remove it"
        )


def _move_into_place(beside: Path, path: Path) -> None:
    """Directories cannot be exchanged in one call everywhere: the old one steps aside first, and back if that fails."""
    old = _aside(path)
    replaced = path.exists()
    if replaced:
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    try:
        beside.rename(path)
    except OSError:
        if replaced:
            old.rename(path)
        raise
    with suppress(OSError):
        shutil.rmtree(old)


def set_aside(path: Path) -> Path | None:
    """Where the model of this path lies, if a save was killed just after it had stepped aside."""
    old = _aside(path)
    return old if old.exists() and not path.exists() else None


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _read_manifest(path: Path) -> Facts:
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        if old := set_aside(path):
            raise ArtefactError(
                f"{path} is missing: a save that was to replace it was stopped, and the model before it is {old}; "
                f"rename that to {path}, or save or export the model again"
            ) from None
        raise ArtefactError(
            f"{path} is no saved model (no {MANIFEST}); make one with `reprise export RUN --out {path}`"
        ) from None
    except ValueError as error:
        raise ArtefactError(f"{file} is damaged ({error}); {AGAIN}") from None
    if not isinstance(manifest, dict):
        raise ArtefactError(f"{file} is damaged (no JSON object); {AGAIN}")
    seal = manifest.pop("sha256", None)
    if manifest.get("format") != FORMAT:
        raise ArtefactError(
            f"{path} has model format {manifest.get('format')!r}, this version of reprise reads {FORMAT}; "
            f"export the model again, or install reprise {manifest.get('reprise', '(unknown)')}, which made it"
        )
    if seal != _seal(manifest):
        raise ArtefactError(f"{file} is not what was saved (its checksum differs); {AGAIN}")
    return manifest


def _verified(file: Path, stated: Mapping[str, Any] | None) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise ArtefactError(f"{file} is missing; {AGAIN}") from None
    assert stated is not None, f"{MANIFEST} of format {FORMAT} always lists {file.name}"
    if len(data) != stated["bytes"]:
        raise ArtefactError(f"{file} has {len(data)} bytes instead of {stated['bytes']}; {AGAIN}")
    if _sha256(data) != stated["sha256"]:
        raise ArtefactError(f"{file} is not what was saved (its checksum differs); {AGAIN}")
    return data


def _check_sizes(artefact: Artefact, path: Path) -> None:
    """A manifest that was made by hand can have right checksums and files that do not fit together."""
    warm, items = artefact.facts["sizes"]["items"], artefact.facts["data"]["items"]
    found = len(artefact.input_ID), len(artefact.output_ID), len(artefact.items)
    if found != (warm, warm, items) or not {"item_id", "count"} <= set(artefact.items.column_names):
        raise ArtefactError(
            f"the files of {path} do not fit together: the manifest says {warm} vectors and {items} items, "
            f"they have {found[0]}, {found[1]} and {found[2]}; export the model again"
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(manifest: Facts) -> str:
    """The checksum of the manifest itself, whatever its layout."""
    return _sha256(json.dumps(manifest, sort_keys=True).encode())
