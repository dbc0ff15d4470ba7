"""Recommendations as a file: rows of user_id, rank, item_id, score and title, as CSV, JSON lines or Parquet."""

import csv
import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError, DataError, did_you_mean

ROWS_AT_ONCE = 50_000
"""Rows that are held before they are written."""


class RecommendationRow(NamedTuple):
    """One row of the file."""

    user_id: ItemId
    rank: int
    item_id: ItemId
    score: float
    title: str | None


class RecommendationWriter:
    """Writes rows to a file whose suffix says its form, or as CSV to standard output.

    The file appears when it is complete: until then it has another name, and an error leaves none.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and path.suffix not in FORMS:
            raise ConfigError(
                f"cannot write {path}: unknown suffix {path.suffix!r}{did_you_mean(path.suffix, FORMS)}"
            )
        if path is not None and not path.parent.is_dir():
            raise DataError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        self.path = path
        self._partial = None if path is None else path.with_name(f".{path.name}.partial")
        self._rows: list[RecommendationRow] = []

    def __enter__(self) -> Self:
        self._form = FORMS[self.path.suffix if self.path else ".csv"](self._partial)
        return self

    def add(self, answer: RecommendationRow) -> None:
        """Write one row, by and by."""
        self._rows.append(answer)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        complete = False
        try:
            with closing(self._form):
                if error is None:
                    self._flush()
            complete = error is None
        finally:
            self._settle(complete)

    def _settle(self, complete: bool) -> None:
        if self.path is None or self._partial is None:
            return
        if complete:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._form.write(self._rows)
        self._rows = []


class _Lines:
    """A form of text lines."""

    def __init__(self, path: Path | None) -> None:
        self.file: IO[str] = sys.stdout if path is None else path.open("w", encoding="utf-8", newline="")

    def close(self) -> None:
        if self.file is sys.stdout:
            self.file.flush()
        else:
            self.file.close()


class _Csv(_Lines):
    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self.writer = csv.writer(self.file, lineterminator="\n")
        self.writer.writerow(RecommendationRow._fields)

    def write(self, rows: list[RecommendationRow]) -> None:
        self.writer.writerows(rows)


class _JsonLines(_Lines):
    def write(self, rows: list[RecommendationRow]) -> None:
        self.file.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)


class _Parquet:
    def __init__(self, path: Path | None) -> None:
        assert path is not None
        self.path = path
        self.writer: pq.ParquetWriter | None = None

    def write(self, rows: list[RecommendationRow]) -> None:
        if self.writer is not None and not rows:
            return  # no rows have no types
        columns = [list(column) for column in zip(*rows, strict=True)] or [
            [] for _ in RecommendationRow._fields
        ]
        # ids are of one type in all rows, and a first batch without titles must not make the column a null one
        kinds = [_id_type(columns[0]), pa.int64(), _id_type(columns[2]), pa.float64(), pa.string()]
        table = pa.table(
            {
                name: pa.array(column, kind)
                for name, column, kind in zip(RecommendationRow._fields, columns, kinds, strict=True)
            }
        )
        self.writer = self.writer or pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self.writer.write_table(table)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _id_type(ids: list[Any]) -> pa.DataType:
    return pa.int64() if ids and isinstance(ids[0], int) else pa.string()


FORMS: dict[str, Callable[[Path | None], Any]] = {".csv": _Csv, ".jsonl": _JsonLines, ".parquet": _Parquet}
"""The forms by suffix."""
