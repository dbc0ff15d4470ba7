"""Event logs at paths as Spark data frames whose rows are numbered in the order of the input."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from reprise.data.io.sources import common_format, expand_paths
from reprise.data.io.spark_logs.worker_errors import translated_errors
from reprise.data.io.spark_session import without_pandas_warning
from reprise.data.io.text_formats.delimited_text import (
    DelimitedFile,
    open_delimited,
    parse_separator,
    read_batches,
    union_names,
)
from reprise.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROW = "reprise_row"
"""Column with the number of each row, in the order of the input."""
ROWS_PER_FILE = 2**40
"""Difference between the numbers of the first rows of two files."""
FORMAT = re.compile(r"([A-Za-z][\w.]+):(?!//)(.+)")
"""`format:path`, such as `delta:s3a://shop/events` or `iceberg:shop.events`."""
SCHEME = re.compile(r"[A-Za-z][\w+.-]+://")
SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
"""Formats of paths with a scheme, by suffix."""


def read_paths(session: "SparkSession", paths: Sequence[str], delimiter: str | None = None) -> "DataFrame":
    """Open a log for Spark, with the column `ROW`.

    Paths of this machine are read as by `read_events`, and all workers must have them. Delimited text is read by one task
    for each file. A path with a scheme (`s3a://`, `hdfs://`) is read by Spark, and so is `format:path`, for example
    `delta:PATH` or `iceberg:TABLE`, if the session has the format.

    Args:
        session: The session.
        paths: Files, directories, globs, or one path of Spark.
        delimiter: Separator of the values in delimited text; None: detect it in each file.

    Raises:
        DataError: A file is missing or cannot be read.
        ConfigError: The session lacks the format, or several paths of Spark are given.
    """
    separator = parse_separator(delimiter)
    named = [path for path in paths if FORMAT.fullmatch(path) and not Path(path).exists()]
    remote = named + [path for path in paths if SCHEME.match(path)]
    if remote and len(paths) > 1:
        raise ConfigError(f"{remote[0]!r} is read by Spark, which reads one path here; give it alone")
    with translated_errors(), without_pandas_warning():
        if remote:
            return number_rows(_read_remote(session, remote[0], separator))
        return _read_files(session, paths, separator)


def number_rows(frame: "DataFrame") -> "DataFrame":
    """Return a data frame with the column `ROW`: the order of its partitions and of the rows in each."""
    from pyspark.sql import functions

    return frame.withColumn(ROW, functions.monotonically_increasing_id())


def _read_remote(session: "SparkSession", path: str, separator: str | None) -> "DataFrame":
    named = FORMAT.fullmatch(path)
    if named:
        return session.read.format(named[1]).load(named[2])
    known = SUFFIXES.get(Path(path).suffix.lower(), "parquet")
    if known == "csv":
        options = {"header": "true", "sep": separator or ",", "escape": '"', "mode": "FAILFAST"}
        return session.read.options(**options).csv(path)  # type: ignore[arg-type, unused-ignore]
    return session.read.format(known).load(path)


def _read_files(session: "SparkSession", paths: Sequence[str], separator: str | None) -> "DataFrame":
    files = expand_paths(list(paths))
    file_format = common_format(files)
    empty = [path for path in files if path.stat().st_size == 0]
    if empty:
        raise DataError(f"{str(empty[0])!r} is empty")
    if separator and file_format in ("parquet", "json"):
        raise ConfigError(
            f"delimiter={separator!r} applies to delimited text, but {str(files[0])!r} is {file_format}; omit it"
        )
    if file_format == "parquet":
        return _read_parquet(session, files, Path(paths[0]) if len(paths) == 1 else None)
    if file_format == "json":
        schema = session.read.json([_uri(path) for path in files]).schema
        frames = [session.read.schema(schema).option("mode", "FAILFAST").json(_uri(path)) for path in files]
        joined = frames[0]
        for frame in frames[1:]:
            joined = joined.unionAll(frame)
        return number_rows(joined)
    known = separator or (None if file_format == "csv" else "\t")
    opened = [open_delimited(path, known, typed_names=file_format == "inter") for path in files]
    reader = TextFiles(tuple(opened), tuple(union_names(opened)))
    numbers = session.range(0, len(files), 1, len(files))
    columns = ", ".join(f"`{name.replace('`', '``')}` string" for name in reader.names)
    return numbers.mapInArrow(reader, f"{columns}, {ROW} bigint")


def _read_parquet(session: "SparkSession", files: Sequence[Path], directory: Path | None) -> "DataFrame":
    from pyspark.sql import functions

    reader = session.read
    if directory is not None and directory.is_dir():
        reader = reader.option("basePath", _uri(directory.absolute()))  # for columns such as day=7/
    frame = reader.parquet(*(_uri(path) for path in files))
    index = functions.col("_metadata.row_index")
    if len(files) == 1:
        return frame.select("*", index.alias(ROW))
    # Spark percent-encodes some characters of its names, and writes one slash or three after the scheme
    number = {path: number for number, path in enumerate(files)}
    names = (re.sub("^file:/+", "/", name) for name in frame.inputFiles())
    pairs = [functions.lit(one) for name in names for one in (name, number[Path(unquote(name))])]
    path = functions.regexp_replace("_metadata.file_path", "^file:/+", "/")
    file = functions.create_map(*pairs)[path].cast("bigint")
    return frame.select("*", (file * functions.lit(ROWS_PER_FILE) + index).alias(ROW))


def _uri(path: Path) -> str:
    """Return the path as an argument of Spark's readers, which take some characters as wildcards."""
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path))


@dataclass(frozen=True)
class TextFiles:
    """A function of Arrow batches of file numbers, for `DataFrame.mapInArrow`: the numbered rows of these files."""

    files: tuple[DelimitedFile, ...]
    """The files."""
    names: tuple[str, ...]
    """Columns of all files."""

    def __call__(self, numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the files.

        Raises:
            DataError: A file is missing on the worker, or cannot be read.
        """
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                file = self.files[number]
                if not file.path.exists():
                    raise DataError(
                        f"a worker of Spark does not find {str(file.path)!r}; put it where all workers have it"
                    )
                row = number * ROWS_PER_FILE
                for rows in read_batches([file], self.names):
                    yield rows.append_column(ROW, pa.array(range(row, row + len(rows)), pa.int64()))
                    row += len(rows)
