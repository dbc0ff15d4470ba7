"""Reading of a saved model: every checksum is verified before anything is used.

The vectors of a model with an approximate search are memory-mapped.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load

from reprise.arrays import AnyArray
from reprise.data.io.arrow_columns import read_table
from reprise.errors import ArtefactError, DataError, command_line
from reprise.path_kinds import instead
from reprise.recommender.artefact.artefact import (
    FILES,
    ITEMS,
    LISTS,
    MANIFEST,
    QUERY,
    READABLE_FORMATS,
    SEARCH,
    STEP,
    VECTORS,
    Artefact,
    check_content,
    manifest_checksum,
    sha256,
    vectors_checksum,
)
from reprise.recommender.artefact.bounded_read import (
    COPY_AGAIN,
    MAX_MANIFEST_BYTES,
    file_checksum,
    read_bounded,
)
from reprise.recommender.artefact.mapped_tensors import map_tensors, release_pages
from reprise.recommender.artefact.replaced_directory import find_backup
from reprise.recommender.artefact.signature import PublicKey, PublicKeyLike
from reprise.recommender.artefact.soundness import check_manifest, check_search
from reprise.recommender.search.inverted_file import InvertedFile


def read(path: Path, verify: PublicKeyLike = None) -> Artefact:
    """Read an artefact, verify its checksums, and check that its content can be served.

    Args:
        path: Directory of the model.
        verify: Public key of the signature that the manifest must have; None: a signature is not read. The manifest has the
            checksum of every file that is read, and other files are ignored.

    Raises:
        ArtefactError: the signature is missing or another one; a file is missing, truncated or altered, is not a regular file,
            or does not fit the others; a number is not finite; or the format version cannot be read.
    """
    manifest = _read_manifest(path, None if verify is None else PublicKey.of(verify))
    listed = manifest["files"]
    metadata = manifest["facts"]
    is_mapped = SEARCH in metadata
    loaded = [name for name in FILES if not (is_mapped and name == VECTORS)]
    files = {name: _verified(path / name, listed[name]) for name in loaded}
    with usable(path):
        # the vectors of an approximate search may be larger than the memory: few of them are read for a query
        tensors = _map_tensors(path, listed) if is_mapped else _read_tensors(files[VECTORS])
        artefact = Artefact(
            metadata=metadata,
            tensors=tensors,
            step=files[STEP],
            query=files[QUERY],
            items=read_table(files[ITEMS], rows=metadata["data"]["items"]),
        )
        check_content(artefact)
        if is_mapped:
            artefact = replace(artefact, lists=_open_lists(path, artefact, listed))
            release_pages(tensors)
    return artefact


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Name the model in an error about its content.

    Raises:
        ArtefactError: the block raised a `DataError` or an `ArtefactError`.
    """
    try:
        yield
    except (DataError, ArtefactError) as error:
        raise ArtefactError(f"the model {path} cannot be used: {error}") from error


def _read_tensors(data: bytes) -> dict[str, AnyArray]:
    try:
        tensors: dict[str, AnyArray] = load(data)
    except (
        Exception
    ) as error:  # safetensors raises its own class, and others for types that NumPy does not have
        raise ArtefactError(f"{VECTORS} cannot be read ({error}); {COPY_AGAIN}") from error
    return tensors


def _map_tensors(path: Path, listed: Mapping[str, Any]) -> dict[str, AnyArray]:
    file_checksum(path / VECTORS, listed[VECTORS])
    try:
        return map_tensors(path / VECTORS)
    except Exception as error:  # as for `load`
        raise ArtefactError(f"{VECTORS} cannot be read ({error}); {COPY_AGAIN}") from error


def _open_lists(path: Path, artefact: Artefact, listed: Mapping[str, Any]) -> InvertedFile:
    """Open the index of an approximate search, and check that it was built from the vectors of the model."""
    check_search(artefact.metadata[SEARCH], listed.get(LISTS))
    file_checksum(path / LISTS, listed[LISTS])
    if vectors_checksum(artefact.output_ID) != artefact.metadata[SEARCH]["vectors"]:
        raise ArtefactError(
            f"{LISTS} was built from other vectors than those in {VECTORS}; export the model again"
        )
    return InvertedFile.open(path / LISTS, *artefact.output_ID.shape)


def _read_manifest(path: Path, verify: PublicKey | None) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        data = read_bounded(file, MAX_MANIFEST_BYTES)
        if verify is not None:
            verify.verify(data, path)  # before anything of an unknown author is parsed
        manifest = json.loads(data)
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
    if checksum != manifest_checksum(manifest):
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
    if sha256(data) != listed["sha256"]:
        raise ArtefactError(f"{file} was changed after it was saved (its checksum differs); {COPY_AGAIN}")
    return data
