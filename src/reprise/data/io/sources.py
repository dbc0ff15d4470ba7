"""Sources of tables: files, data frames, Arrow tables and Ibis tables, all opened as lazy Ibis tables.

Only headers are read here. To support a new file format, add its suffix to `FORMATS` and, if needed, a case to `_open_files`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from reprise.data.dataset import ITEMS, SEQUENCES, SequenceDataset
from reprise.data.io.column_types import check_id_type, id_type_error
from reprise.data.io.data_frames import to_arrow
from reprise.data.io.duckdb_engine import NUMBERING, DuckDBEngine
from reprise.data.io.parquet_files.parquet_schemas import check_same_type, partition_keys, read_schemas
from reprise.data.io.text_formats.delimited_text import (
    open_delimited,
    parse_separator,
    read_batches,
    text_schema,
    union_names,
)
from reprise.data.io.text_formats.json_lines import LINE_SCHEMA, read_lines, scan_columns, select_columns
from reprise.data.io.text_formats.text_blocks import UTF8_MARK
from reprise.errors import ConfigError, DataError, command_line
from reprise.path_kinds import MANIFESTS, NAMES, Kind

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
COLLECTING = ("collect", "to_table", "toPandas")
"""Methods of lazy tables of other libraries (polars, Arrow, Spark) that return a table in memory."""
OWN_DIRECTORIES: dict[Kind, tuple[str, str, tuple[str, ...]]] = {
    "dataset": (SEQUENCES, "train", ("--out", "RUN")),
    "run": ("recipe.toml", "recommend", ("HISTORIES",)),
    "model": (ITEMS, "recommend", ("HISTORIES",)),
}
"""For each kind of directory that contains tables: a file besides its manifest, a command for the directory, its arguments."""
PEEK_BYTES = 1024
"""Bytes that are read to recognise a JSON array."""


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
    """Parquet files of the table; empty for other sources."""
    schemas: tuple[pa.Schema, ...] = ()
    """Schema of each Parquet file."""
    has_partitions: bool = False
    """Whether columns of the table are directories named `key=value` instead of columns of the Parquet files."""
    engine: DuckDBEngine | None = None
    """Engine that evaluates `table`, or None if the table is in a database of the caller."""
    not_ids: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Columns of JSON lines with values that cannot be ids: the type of the first such value in words, and the value."""

    @property
    def in_place(self) -> bool:
        """Whether the files are Parquet and the engine can number their rows, so that they need not be written again."""
        names = {name.lower() for schema in self.schemas for name in schema.names}
        return bool(self.parquet) and not self.has_partitions and names.isdisjoint(NUMBERING)

    def check_ids(self, name: str, *, where: str = "") -> None:
        """Check that a column contains ids: text, integers or UUIDs.

        Args:
            name: Name of the column.
            where: What the table is, for the message, such as ` of the item table`.

        Raises:
            DataError: The column has another type, or different types in several files.
        """
        if name in self.not_ids:
            words, example = self.not_ids[name]
            raise id_type_error(name, words, where=where, example=example)
        check_id_type(self.table, name, where=where)
        self.check_same_type(name)

    def check_same_type(self, name: str) -> None:
        """Check that a column has the same kind of type in all files.

        Raises:
            DataError: Its types differ.
        """
        check_same_type(self.parquet, self.schemas, name)


def open_source(source: Any, delimiter: str | None = None) -> Source:
    """Open a path, several paths, a glob, a directory, or a table in memory or in a database as a lazy table.

    Args:
        source: The table or the files. A source that is open already is returned as it is.
        delimiter: Separator of the values in text files; None: detect it in each file.

    Raises:
        DataError: A file is missing or cannot be read, the formats are unknown or mixed, or columns cannot be read as
            they are.
        ConfigError: The delimiter cannot separate values, or the files are not delimited text.
    """
    separator = parse_separator(delimiter)
    if isinstance(source, Source):
        return source
    if isinstance(source, SequenceDataset):
        raise DataError(
            "the events are already a prepared dataset; train with it, or give the original events"
        )
    if isinstance(source, ir.Table):
        return _open_ibis(source)
    table = to_arrow(source)
    if table is not None:
        return _open_arrow(table)
    return _open_files(expand_paths(source), separator)


def _open_ibis(table: ir.Table) -> Source:
    """Open an Ibis table. The data behind an expression is unknown, so its number of rows indicates changes."""
    expression = hashlib.sha256(repr(table).encode()).hexdigest()[:16]
    return Source(table, {"expression": expression, "rows": table.count().to_pyarrow().as_py()})


def _open_arrow(table: pa.Table) -> Source:
    engine = DuckDBEngine()
    return Source(engine.arrow_table("source", table), {"content": _hash_content(table)}, engine=engine)


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


def expand_paths(source: Any) -> list[Path]:
    """Return the files of a path, several paths, globs or directories, in the order of the input."""
    if isinstance(source, (str, Path)):
        return _expand_one(source)
    if hasattr(source, "read"):  # its lines would be read as paths
        raise DataError(
            f"cannot read a table from an open file of type {type(source).__name__}; give its path"
        )
    # an array without axes has the method of an iterable, which raises an error
    if not isinstance(source, Iterable) or isinstance(source, bytes) or getattr(source, "ndim", 1) == 0:
        raise _unsupported_source(source)
    paths = []
    for one in source:
        if not isinstance(one, (str, Path)):
            raise _unsupported_source(source, one)
        paths += _expand_one(one)
    if not paths:
        raise DataError("no files to read: the list is empty")
    return list(dict.fromkeys(paths))  # a file that is listed twice, or by a path and a glob, is read once


def _unsupported_source(source: Any, *first: Any) -> DataError:
    """Return the error for a source that is not a table, or that is not a list of paths because of its `first` value."""
    kind = "None" if source is None else f"a value of type {type(source).__name__}"
    values = f" with values of type {type(first[0]).__name__}" if first else ""
    remedy = next(
        (f"call .{method}() on it first" for method in COLLECTING if hasattr(source, method)),
        "give paths, a pandas, polars, Arrow or Ibis table, a dict of columns, or a list of dicts",
    )
    return DataError(f"cannot read a table from {kind}{values}; {remedy}")


def _expand_one(source: str | Path) -> list[Path]:
    path = Path(source)
    _refuse_datasets([path])
    if path.is_dir():
        found = _files_in(path.absolute())
    elif path.exists():
        found = [path.absolute()]
    else:
        found = _matches(str(source))
    _refuse_datasets(found)
    if not found:
        raise DataError(f"no file at {str(source)!r} (seen from {Path.cwd()})")
    return found


def _refuse_datasets(paths: Iterable[Path]) -> None:
    """Refuse what the commands wrote: prepared datasets, runs and models contain tables that look like a log."""
    for path in paths:
        directory = path if path.is_dir() else path.parent
        for kind, (other, command, arguments) in OWN_DIRECTORIES.items():
            names = (MANIFESTS[kind], other)
            # the item table may be used again
            own = path.is_dir() or (path.name in names and path.name != ITEMS)
            if own and all((directory / name).is_file() for name in names):
                part = "" if path.is_dir() else f"part of {str(directory)!r}, which is "
                use = command_line("reprise", command, directory, *arguments)
                raise DataError(
                    f"{str(path)!r} is {part}{NAMES[kind]}, not a log or an item table; use it with `{use}`, or give the "
                    "original event files"
                )


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
    if suffixes and suffixes[-1].lower() in COMPRESSED:
        suffixes = suffixes[:-1]
    return FORMATS.get(suffixes[-1].lower()) if suffixes else None


def _open_files(files: list[Path], separator: str | None) -> Source:
    file_format = common_format(files)
    empty = [path for path in files if path.stat().st_size == 0]
    if empty:
        raise DataError(f"{str(empty[0])!r} is empty")
    engine = DuckDBEngine()
    origin: dict[str, Any] = {"files": [_file_version(path) for path in files]}
    if separator and file_format in ("parquet", "json"):
        raise ConfigError(
            f"delimiter={separator!r} applies to delimited text, but {str(files[0])!r} is {file_format}; omit it"
        )
    if file_format == "parquet":
        return _open_parquet(engine, files, origin)
    if file_format == "json":
        return _open_json(engine, files, origin)
    if separator:
        origin["delimiter"] = separator
    return Source(_open_text(engine, files, file_format, separator), origin, text=True, engine=engine)


def _open_parquet(engine: DuckDBEngine, files: list[Path], origin: dict[str, Any]) -> Source:
    schemas = read_schemas(files)
    keys = partition_keys(files, schemas)
    # without numbers, because the files may have columns of these names
    table = engine.parquet(files, number=False, partitions=bool(keys))
    constant = [key for key, differs in keys.items() if not differs]
    table = table.drop(*(name for name in table.columns if name in constant))
    return Source(
        table, origin, parquet=tuple(files), schemas=schemas, has_partitions=bool(keys), engine=engine
    )


def common_format(files: list[Path]) -> str:
    """Return the format of files by their suffixes; files of several formats are an error."""
    formats = [_format_of(path) for path in files]
    if None in formats:
        raise DataError(
            f"{str(files[formats.index(None)])!r} has an unknown format; known: {', '.join(FORMATS)}"
        )
    other = next((path for path, one in zip(files, formats, strict=True) if one != formats[0]), None)
    if other is not None:
        raise DataError(f"{str(other)!r} has another format than {str(files[0])!r}; give files of one format")
    return str(formats[0])


def _open_text(engine: DuckDBEngine, files: list[Path], file_format: str, separator: str | None) -> ir.Table:
    known = separator or (None if file_format == "csv" else "\t")
    opened = [open_delimited(path, known, typed_names=file_format == "inter") for path in files]
    names = union_names(opened)
    return engine.stream("text_files", text_schema(names), partial(read_batches, opened, names))


def _open_json(engine: DuckDBEngine, files: list[Path], origin: dict[str, Any]) -> Source:
    _refuse_json_arrays(files)
    columns = scan_columns(files)
    engine.stream("json_lines", LINE_SCHEMA, partial(read_lines, files))
    table = engine.view("json_rows", select_columns(columns, "json_lines"))
    not_ids = {column.name: column.not_id for column in columns if column.not_id is not None}
    return Source(table, origin, engine=engine, not_ids=not_ids)


def _refuse_json_arrays(files: list[Path]) -> None:
    for path in files:
        with pa.input_stream(str(path)) as stream:
            start = stream.read(PEEK_BYTES).removeprefix(UTF8_MARK).lstrip()
        if start.startswith(b"["):
            raise DataError(
                f"{str(path)!r} is a JSON array; write one object per line, without brackets around them"
            )


def _file_version(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"path": str(path.resolve()), "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}
