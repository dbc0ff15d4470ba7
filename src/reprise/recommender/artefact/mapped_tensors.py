"""Tensors of a safetensors file as memory-mapped arrays: the system loads a page when it is read, and can drop it again."""

import mmap
from math import prod
from pathlib import Path

import numpy as np
from safetensors import safe_open

from reprise.arrays import AnyArray

DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
"""NumPy types of the format's types."""


def map_tensors(file: Path) -> dict[str, AnyArray]:
    """Return the tensors of a file as read-only arrays that are not loaded.

    Raises:
        Exception: the file is not valid; the library raises errors of several classes.
    """
    with safe_open(file, framework="numpy") as opened:
        # the format has no gaps between tensors, so their sizes give their places
        parts = [(name, opened.get_slice(name)) for name in opened.offset_keys()]
        shapes = [(name, DTYPES[part.get_dtype()], tuple(part.get_shape())) for name, part in parts]
    with file.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # not on Windows
        mapped.madvise(mmap.MADV_RANDOM)
    offset = len(mapped) - sum(np.dtype(kind).itemsize * prod(shape) for _, kind, shape in shapes)
    tensors: dict[str, AnyArray] = {}
    for name, kind, shape in shapes:
        tensors[name] = np.frombuffer(mapped, kind, prod(shape), offset).reshape(shape)
        offset += tensors[name].nbytes
    return tensors


def release_pages(tensors: dict[str, AnyArray]) -> None:
    """Let the system drop the pages of mapped tensors that were read so far, for example by checks."""
    for tensor in tensors.values():
        base: object = tensor
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, memoryview):
            base = base.obj
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)
            return
