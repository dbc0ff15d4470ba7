"""Sources of tables: files, data frames, Arrow tables and Ibis tables, all opened as lazy Ibis tables.

Only headers are read here. To support a new file format, add its suffix to `FORMATS` and, if needed, a case to `_open`.
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

FORMATS = {
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
"""Format of each file suffix. `csv` detects its delimiter; `inter` is RecBole's format: tabs and `name:type` headers."""
COMPRESSED = (".gz", ".zst")
PEEK_BYTES = 1024
"""Bytes that are read to recognise a JSON array."""
TEXT_FORMATS = ("csv", "tsv", "inter")


@dataclass(frozen=True)
class Source:
    """A lazy table with the original columns, and its origin."""

    table: ir.Table
    """The table."""
    origin: dict[str, Any]
    """JSON values that differ when the source has changed: files with size and time, a hash, or an expression."""
    text: bool = False
    """Whether all values are text as in the file, so that `17` may be an integer."""
    parquet: tuple[Path, ...] = ()
    """Parquet files that can be read repeatedly in place; empty for other sources."""
    engine: Engine | None = None
    """Engine that evaluates `table`, or None if the table is in a database of the caller."""


def open_source(source: Any) -> Source:
    """Open a path, several paths, a glob, a directory, or a data frame, Arrow or Ibis table as a lazy table.

    Raises:
        DataError: A file is missing or cannot be read, or the formats are unknown or mixed.
    """
    if isinstance(source, ir.Table):
        return _open_ibis(source)
    if hasattr(source, "__arrow_c_stream__"):
        return _open_arrow(source)
    return _open_files(_expand(source))


def _open_ibis(table: ir.Table) -> Source:
    """Open an Ibis table. The data behind an expression is unknown, so its number of rows indicates changes."""
    expression = hashlib.sha256(repr(table).encode()).hexdigest()[:16]
    return Source(table, {"expression": expression, "rows": table.count().to_pyarrow().as_py()})


def _open_arrow(frame: Any) -> Source:
    try:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"a column of the table holds values of several types: {error}") from None
    table = _without_dictionaries(table)
    engine = Engine()
    return Source(engine.arrow_table("source", table), {"content": _hash_content(table)}, engine=engine)


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Replace dictionary columns by their values, because DuckDB would treat each enumeration as a separate type."""
    for position, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            values = table.column(position).cast(column.type.value_type)
            table = table.set_column(position, column.name, values)
    return table


def _hash_content(table: pa.Table) -> str:
    digest = hashlib.sha256()
    with pa.ipc.new_stream(_HashingFile(digest), table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None).combine_chunks())
    return digest.hexdigest()[:16]


@dataclass
class _HashingFile:
    """A write-only file that hashes its content."""

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
        raise _unsupported_source(source)
    paths = []
    for one in source:
        if not isinstance(one, (str, Path)):
            raise _unsupported_source(one)
        paths += _expand_one(one)
    if not paths:
        raise DataError("no files to read: the list is empty")
    return paths


def _unsupported_source(source: Any) -> DataError:
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
    """Return the files that a glob matches, and those in matching directories; no file is returned twice."""
    names = sorted(glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
    paths = [Path(name).absolute() for name in names]
    directories = {path for path in paths if path.is_dir()}
    # files such as _SUCCESS, which Spark writes next to the data
    markers = {path for path in paths if path.name.startswith("_") and not _format_of(path)}
    chosen = [path for path in paths if path not in markers and directories.isdisjoint(path.parents)]
    return list(chain.from_iterable(_files_in(path) if path in directories else [path] for path in chosen))


def _files_in(directory: Path) -> list[Path]:
    """Return the files of known formats in a directory tree, without hidden files and those whose name begins with `_`."""
    return sorted(
        inner
        for inner in directory.rglob("*")
        if _format_of(inner)
        and not any(name[0] in "._" for name in inner.relative_to(directory).parts)
        and inner.is_file()
    )


def _format_of(path: Path) -> str | None:
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes = suffixes[:-1]
    return FORMATS.get(suffixes[-1].lower()) if suffixes else None


def _open_files(files: list[Path]) -> Source:
    formats = {_format_of(path) for path in files}
    if len(formats) != 1 or None in formats:
        odd = next((path for path in files if _format_of(path) is None), files[-1])
        raise DataError(
            f"{str(odd)!r} has an unknown format, or another format than the other files; known: {', '.join(FORMATS)}"
        )
    file_format = str(formats.pop())
    empty = [path for path in files if path.stat().st_size == 0]
    if empty:
        raise DataError(f"{str(empty[0])!r} is empty")
    engine = Engine()
    in_place = file_format == "parquet" and not _has_numbering_columns(files)
    return Source(
        table=_open(engine, files, file_format, in_place=in_place),
        origin={"files": [_file_version(path) for path in files]},
        text=file_format in TEXT_FORMATS,
        parquet=tuple(files) if in_place else (),
        engine=engine,
    )


def _has_numbering_columns(files: list[Path]) -> bool:
    """Return whether Parquet files have a column named like those that row numbering adds; they cannot be read in place."""
    try:
        names = {name.lower() for path in files for name in pq.read_schema(path).names}
    except (pa.ArrowException, OSError):
        return False  # the engine reports the fault when it opens the file
    return not names.isdisjoint(NUMBERING)


def _open(engine: Engine, files: list[Path], file_format: str, *, in_place: bool) -> ir.Table:
    if file_format == "parquet":
        table = engine.parquet(files, number=in_place)
        if not in_place:
            return table
        return table.drop(*(name for name in NUMBERING if name in table.columns))
    if file_format == "json":
        _refuse_json_arrays(files)
        return engine.json_lines(files)
    table = engine.text(files, None if file_format == "csv" else "\t")
    if file_format != "inter":
        return table
    return table.rename({name.split(":")[0]: name for name in table.columns})


def _refuse_json_arrays(files: list[Path]) -> None:
    for path in files:
        with pa.input_stream(str(path)) as stream:
            start = stream.read(PEEK_BYTES).lstrip()
        if start.startswith(b"["):
            raise DataError(
                f"{str(path)!r} is a JSON array; write one object per line, without brackets around them"
            )


def _file_version(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"path": str(path.resolve()), "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}
