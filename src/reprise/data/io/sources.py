"""From whatever holds a table - files, a frame, an Arrow or Ibis table - to a lazy Ibis table.

Nothing is read here but headers. A dialect is a suffix in `KINDS` and, where it needs one, a case in `_open`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.data.io.duckdb_engine import NUMBERING, Engine
from reprise.errors import DataError

KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".tsv": "tsv",
    ".inter": "inter",
    ".item": "inter",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
"""The formats by suffix: `csv` finds its delimiter itself; `inter` are RecBole's, tabs and `name:type` headers."""
PACKED = (".gz", ".zst")
PEEK_BYTES = 1024
TEXT = ("csv", "tsv", "inter")


@dataclass(frozen=True)
class Source:
    """A lazy table with the columns as they came, and where it is from."""

    table: ir.Table
    origin: dict[str, Any]
    """What tells whether the source has changed, JSON-able: files with size and time, a hash, or an expression."""
    text: bool = False
    """Whether the values are text as written, so that `17` may be meant as an integer."""
    parquet: tuple[Path, ...] = ()
    """The files, where they can be read in place as often as needed."""
    engine: Engine | None = None
    """What runs `table`, or None when it lives in a database of the caller's."""


def open_source(source: Any) -> Source:
    """A lazy table of a path, several paths, a glob, a folder, or of any frame, Arrow or Ibis table.

    Raises:
        DataError: There is no such file, its format is unknown or mixed, or it cannot be read.
    """
    if isinstance(source, ir.Table):
        return _open_ibis(source)
    if hasattr(source, "__arrow_c_stream__"):
        return _open_arrow(source)
    return _open_files(_expand(source))


def _open_ibis(table: ir.Table) -> Source:
    """What is behind an expression cannot be seen, so its number of rows has to tell whether it has changed."""
    expression = hashlib.sha256(repr(table).encode()).hexdigest()[:16]
    return Source(table, {"expression": expression, "rows": table.count().to_pyarrow().as_py()})


def _open_arrow(frame: Any) -> Source:
    try:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"a column of the table holds values of several types: {error}") from None
    table = _without_dictionaries(table)
    engine = Engine()
    return Source(engine.arrow_table("source", table), {"content": _content(table)}, engine=engine)


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Categories as their values: an enumeration would be a type of its own in every message and comparison."""
    for place, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            plain = table.column(place).cast(column.type.value_type)
            table = table.set_column(place, column.name, plain)
    return table


def _content(table: pa.Table) -> str:
    digest = hashlib.sha256()
    with pa.ipc.new_stream(_Hashed(digest), table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None).combine_chunks())
    return digest.hexdigest()[:16]


@dataclass
class _Hashed:
    """A file that only hashes what is written to it."""

    digest: Any
    closed: bool = field(default=False)

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def _expand(source: Any) -> list[Path]:
    if isinstance(source, (str, Path)):
        return _expand_one(source)
    if not isinstance(source, Iterable):
        raise _no_source(source)
    paths = []
    for one in source:
        if not isinstance(one, (str, Path)):
            raise _no_source(one)
        paths += _expand_one(one)
    if not paths:
        raise DataError("no files to read: the list is empty")
    return paths


def _no_source(source: Any) -> DataError:
    return DataError(
        f"cannot read events from {type(source).__name__}; give paths, a pandas, polars or Arrow table, or an Ibis table"
    )


def _expand_one(source: str | Path) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        found = _files_in(path.absolute())
    elif path.exists():
        found = [path.absolute()]
    else:
        found = _matches(str(source))
    if not found:
        raise DataError(f"no file at {str(source)!r} (seen from {Path.cwd()})")
    return found


def _matches(pattern: str) -> list[Path]:
    """What a glob finds, folders as their files; what is in a folder that it finds too is not taken twice."""
    names = sorted(glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
    paths = [Path(name).absolute() for name in names]
    folders = {path for path in paths if path.is_dir()}
    notes = {path for path in paths if path.name.startswith("_") and not _kind_of(path)}
    chosen = [path for path in paths if path not in notes and folders.isdisjoint(path.parents)]
    return list(chain.from_iterable(_files_in(path) if path in folders else [path] for path in chosen))


def _files_in(folder: Path) -> list[Path]:
    """The files of known formats in a folder and its folders, but for what is hidden or a writer's own notes."""
    return sorted(
        inner
        for inner in folder.rglob("*")
        if _kind_of(inner)
        and not any(name[0] in "._" for name in inner.relative_to(folder).parts)
        and inner.is_file()
    )


def _kind_of(path: Path) -> str | None:
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in PACKED:
        suffixes = suffixes[:-1]
    return KINDS.get(suffixes[-1].lower()) if suffixes else None


def _open_files(files: list[Path]) -> Source:
    kinds = {_kind_of(path) for path in files}
    if len(kinds) != 1 or None in kinds:
        odd = next((path for path in files if _kind_of(path) is None), files[-1])
        raise DataError(
            f"{str(odd)!r} is of an unknown format, or of another than the files beside it; known: {', '.join(KINDS)}"
        )
    kind = str(kinds.pop())
    empty = [path for path in files if path.stat().st_size == 0]
    if empty:
        raise DataError(f"{str(empty[0])!r} is empty")
    engine = Engine()
    in_place = kind == "parquet" and not _clashes(files)
    return Source(
        table=_open(engine, files, kind, in_place=in_place),
        origin={"files": [_stamp(path) for path in files]},
        text=kind in TEXT,
        parquet=tuple(files) if in_place else (),
        engine=engine,
    )


def _clashes(files: list[Path]) -> bool:
    """Whether Parquet files have a column called as one that numbering adds, so that they cannot be read in place."""
    try:
        names = {name.lower() for path in files for name in pq.read_schema(path).names}
    except (pa.ArrowException, OSError):
        return False  # the engine says what is wrong with the file
    return not names.isdisjoint(NUMBERING)


def _open(engine: Engine, files: list[Path], kind: str, *, in_place: bool) -> ir.Table:
    if kind == "parquet":
        table = engine.parquet(files, number=in_place)
        if not in_place:
            return table
        return table.drop(*(name for name in NUMBERING if name in table.columns))
    if kind == "json":
        _refuse_arrays(files)
        return engine.json_lines(files)
    table = engine.text(files, None if kind == "csv" else "\t")
    if kind != "inter":
        return table
    return table.rename({name.split(":")[0]: name for name in table.columns})


def _refuse_arrays(files: list[Path]) -> None:
    for path in files:
        with pa.input_stream(str(path)) as stream:
            begins = stream.read(PEEK_BYTES).lstrip()
        if begins.startswith(b"["):
            raise DataError(
                f"{str(path)!r} is a JSON array; write one object a line, without brackets around them"
            )


def _stamp(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"path": str(path.resolve()), "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}
