"""Export of a saved model for the devices of users: graphs, vectors, ids and rules, without counts of items."""

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from reprise.argument_checks import choice, file_path
from reprise.arrays import AnyArray
from reprise.atomic_files import writing
from reprise.data.popular_items import Moment
from reprise.directory_lock import locked_output
from reprise.errors import ArtefactError, ConfigError
from reprise.privacy.device.device_client import (
    FACTS,
    FORMAT,
    IDS,
    INITIAL,
    QUERY,
    REPEATS,
    STEP,
    VECTORS,
)
from reprise.recommender.artefact.artefact import INPUT, OUTPUT, Artefact, vectors_checksum
from reprise.recommender.artefact.replaced_directory import move_into_place
from reprise.recommender.recommender import Recommender
from reprise.recommender.search.mmr import unit_vectors

CLIENT = "device_client.py"
"""File with the client, which is copied into the folder."""
FILES = (FACTS, STEP, QUERY, VECTORS, IDS, CLIENT)
MAX_POPULAR = 1000
"""Largest number of popular items that the folder has for users without events."""
UNIT_TOLERANCE = 1e-6
"""Largest difference of a number of an output vector to that of the normalised input vector, for both to count as the same."""
OutputForm = Literal["input", "unit", "own"]
Scoring = Literal["device", "server"]
Precision = Literal["float32", "float16"]


class DeviceExport(NamedTuple):
    """What an export wrote."""

    file_bytes: Mapping[str, int]
    """Size of each file, in bytes."""
    has_output_vectors: bool
    """Whether the folder is enough to compute scores: it has output vectors, or they follow from the input vectors."""


def export_device(
    model: str | Path | Recommender,
    folder: str | Path,
    *,
    scoring: Scoring = "device",
    precision: Precision = "float32",
) -> DeviceExport:
    """Write a folder with which a device computes recommendations without a question to a server.

    The folder contains two ONNX graphs (the step and the query), the vectors and ids of the items, the rules of the log, and a
    client in one file. It contains no counts of item pairs and no item columns, so the client cannot filter by columns.

    Args:
        model: Directory of a saved model, or a recommender.
        folder: Directory to write; one that an earlier export wrote is replaced.
        scoring: `device`: the folder has the output vectors. `server`: it has not, because `reprise serve-encrypted` computes
            the scores; the input vectors are there in both cases, because the step reads those of the user's own events.
        precision: Type of the numbers of the vectors. `float16` halves the size, and rounds to three digits.

    Raises:
        ArtefactError: the model cannot be read, or the path holds something else or cannot be written.
        ConfigError: an argument is invalid, or the recommender has vectors that `with_items` changed or added.
    """
    choice("scoring", scoring, ("device", "server"))
    choice("precision", precision, ("float32", "float16"))
    target = file_path("folder", folder)
    recommender = model if isinstance(model, Recommender) else Recommender.load(model)
    if recommender.ranker.network.input_changes is not None:
        raise ConfigError(
            "the recommender has items with vectors that the saved model does not have; pass the saved model, or train a model "
            "with these items"
        )
    files = _files(recommender, scoring, np.dtype(precision))
    _check_target(target)
    partial = target.absolute().with_name(f".{target.absolute().name}.partial")
    with writing(target), locked_output(target, "exports a model as"):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            for name, data in files.items():
                (partial / name).write_bytes(data)
            move_into_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    follows = _output_form(recommender.artefact) != "own"
    return DeviceExport({name: len(data) for name, data in files.items()}, follows or scoring == "device")


def _output_form(artefact: Artefact) -> OutputForm:
    """Return how the output vectors follow from the input vectors.

    `input`: they are the same. `unit`: they are divided by their norms, as in a network of cosine scores. `own`: neither.
    """
    if OUTPUT not in artefact.tensors:
        return "input"
    if artefact.input_ID.shape != artefact.output_ID.shape:
        return "own"
    difference_ID = unit_vectors(artefact.input_ID) - artefact.output_ID
    return "unit" if np.abs(difference_ID).max(initial=0.0) <= UNIT_TOLERANCE else "own"


def _files(recommender: Recommender, scoring: Scoring, dtype: np.dtype[np.floating]) -> dict[str, bytes]:
    """Return the content of each file."""
    artefact, catalogue = recommender.artefact, recommender.ranker.catalogue
    arrays = {f"{INITIAL}{name}": array for name, array in artefact.initial.items()}
    arrays |= {f"{REPEATS}{name}": array for name, array in artefact.repeats.items()}
    arrays[INPUT] = artefact.input_ID.astype(dtype)
    form = _output_form(artefact)
    if scoring == "device" and form == "own":
        arrays[OUTPUT] = artefact.output_ID.astype(dtype)
    available_I = catalogue.available_I
    unavailable = np.empty(0, dtype=np.int64) if available_I is None else np.flatnonzero(~available_I)
    arrays["unavailable_row"] = unavailable
    popular = artefact.popular.at(Moment())
    row = popular.row_I[~np.isin(popular.row_I, unavailable)][:MAX_POPULAR]
    arrays |= {"popular_row": row, "popular_share": popular.share_I[row]}
    client = Path(__file__).with_name(CLIENT).read_bytes()
    files = {
        STEP: artefact.step,
        QUERY: artefact.query,
        VECTORS: _packed(arrays),
        IDS: json.dumps(catalogue.ids[: artefact.scored], ensure_ascii=False).encode(),
        CLIENT: client,
    }
    facts = {
        "format": FORMAT,
        "name": recommender.name,
        "model": vectors_checksum(artefact.output_ID),
        "scoring": scoring,
        "output": form,
        "kinds": list(catalogue.kinds),
        "rules": recommender.history_rules.to_dict(),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    return {**files, FACTS: json.dumps(facts, indent=2, ensure_ascii=False).encode()}


def _packed(arrays: dict[str, AnyArray]) -> bytes:
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()


def _check_target(path: Path) -> None:
    """Raise `ArtefactError` if the path holds anything but an earlier export."""
    if not path.exists():
        return
    names = {file.name for file in path.iterdir()} if path.is_dir() else {"a file"}
    if names and not (names <= {*FILES} and FACTS in names):
        other = sorted(names - {*FILES} or names)[0]
        raise ArtefactError(
            f"{path} exists and is not a folder for devices ({other}); choose another path or remove it"
        )
