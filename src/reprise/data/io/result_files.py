"""Results for users, written row by row: recommendations as CSV, JSON lines or Parquet, and forecasts as JSON lines."""

import csv
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from reprise.atomic_files import partial_file, replaced_file, writing
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError, DataError, did_you_mean

ROWS_PER_WRITE = 50_000
"""Number of rows that are buffered before they are written."""


class RecommendationRow(NamedTuple):
    """One recommended item of one user."""

    user_id: ItemId
    """Id of the user."""
    rank: int
    """Rank of the item in the list, from 1."""
    item_id: ItemId
    """Id of the recommended item."""
    score: float
    """Score that the model gives to the item."""
    title: str | None
    """Title of the item, or None if it has none."""


class ResultWriter:
    """A context manager that writes rows, which are named tuples, to a file or to standard output.

    The file is written under a temporary name and renamed when it is complete, so that an error leaves no partial file.
    A device or a pipe is written directly.
    """

    def __init__(self, path: Path | None, file_format: Callable[[Path | None], Any]) -> None:
        """Check the path.

        Args:
            path: The file; None: standard output.
            file_format: Class that writes the rows, such as `JsonLines`.

        Raises:
            DataError: The directory does not exist.
        """
        if path is not None and not path.parent.is_dir():
            raise DataError(
                f"cannot write {path}: the directory {path.parent} does not exist; create it first"
            )
        self.path = path
        self._format = file_format
        with self._naming_the_file():
            self._target = None if path is None else replaced_file(path)
        self._written = path if self._target is None else partial_file(self._target)
        self._rows: list[Any] = []

    def __enter__(self) -> Self:
        with self._naming_the_file():
            self._writer = self._format(self._written)
        return self

    def add(self, row: Any) -> None:
        """Add one row. Every `ROWS_PER_WRITE` rows are written together."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_WRITE:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were added since the last write."""
        with self._naming_the_file():
            self._writer.write(self._rows)
        self._rows = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        complete = False
        try:
            with self._naming_the_file(), closing(self._writer):
                if error is None:
                    self.flush()
            complete = error is None
        finally:
            self._finish(complete)

    def _naming_the_file(self) -> AbstractContextManager[None]:
        """Return a context manager that raises an `OSError` as an `ArtefactError` that names the file."""
        return nullcontext() if self.path is None else writing(self.path)

    def _finish(self, complete: bool) -> None:
        if self._written is None or self._target is None:
            return
        if complete:
            with self._naming_the_file():
                self._written.replace(self._target)
        else:
            self._written.unlink(missing_ok=True)


class RecommendationWriter(ResultWriter):
    """Writes a `RecommendationRow` per item, in the format of the file's suffix; CSV on standard output."""

    def __init__(self, path: Path | None) -> None:
        """Check the path.

        Raises:
            ConfigError: The suffix is unknown.
            DataError: The directory does not exist.
        """
        suffix = ".csv" if path is None else path.suffix
        if suffix not in FORMATS:
            raise ConfigError(
                f"cannot write {path}: unknown suffix {suffix!r}{did_you_mean(suffix, FORMATS)}"
            )
        super().__init__(path, FORMATS[suffix])


class _TextFile:
    """Base class of the text formats."""

    def __init__(self, path: Path | None) -> None:
        self.file: IO[str] = sys.stdout if path is None else path.open("w", encoding="utf-8", newline="")

    def close(self) -> None:
        if self.file is sys.stdout:
            self.file.flush()
        else:
            self.file.close()


class _Csv(_TextFile):
    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self.writer = csv.writer(self.file, lineterminator="\n")
        self.writer.writerow(RecommendationRow._fields)

    def write(self, rows: list[RecommendationRow]) -> None:
        self.writer.writerows(rows)


class JsonLines(_TextFile):
    """A file with one JSON object per row."""

    def write(self, rows: list[Any]) -> None:
        """Write named tuples as objects."""
        self.file.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)


class _Parquet:
    def __init__(self, path: Path | None) -> None:
        assert path is not None
        self.path = path
        self.writer: pq.ParquetWriter | None = None

    def write(self, rows: list[RecommendationRow]) -> None:
        if self.writer is not None and not rows:
            return  # an empty batch has no id type to write
        columns = [list(column) for column in zip(*rows, strict=True)] or [
            [] for _ in RecommendationRow._fields
        ]
        # explicit types: with inferred ones, a first batch without titles would give the column the type null
        types = [_id_type(columns[0]), pa.int64(), _id_type(columns[2]), pa.float64(), pa.string()]
        table = pa.table(
            {
                name: pa.array(column, column_type)
                for name, column, column_type in zip(RecommendationRow._fields, columns, types, strict=True)
            }
        )
        self.writer = self.writer or pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self.writer.write_table(table)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _id_type(ids: list[Any]) -> pa.DataType:
    return pa.int64() if ids and isinstance(ids[0], int) else pa.string()


FORMATS: dict[str, Callable[[Path | None], Any]] = {".csv": _Csv, ".jsonl": JsonLines, ".parquet": _Parquet}
"""Class that writes recommendations, by file suffix."""
