"""Replacement of the ids of a log by pseudonyms, batch by batch, in bounded memory."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from reprise.argument_checks import file_path, instance, listed
from reprise.atomic_files import partial_file, resolved, writing
from reprise.data.io.sources import Source, open_source
from reprise.errors import ConfigError, DataError, did_you_mean
from reprise.privacy.pseudonyms.pseudonym_key import PseudonymKey
from reprise.progress import ShowProgress, step_reporter

SUFFIXES = (".parquet", ".csv")


class PseudonymisedLog(NamedTuple):
    """What was replaced in a log."""

    rows: int
    """Number of rows."""
    domains: dict[str, str]
    """Domain of the pseudonyms of each column that was replaced."""
    unchanged: tuple[str, ...]
    """Columns that were copied as they are. They may identify people too."""


def pseudonymise(
    events: Any,
    out: str | Path,
    *,
    key: PseudonymKey | str | Path,
    columns: Sequence[str],
    delimiter: str | None = None,
    progress: ShowProgress = None,
) -> PseudonymisedLog:
    """Copy a log with pseudonyms in place of the ids of some columns.

    The same id has the same pseudonym in every row and every log with the same key and domain, so logs can still be joined.
    A missing id stays missing. The rows keep their order. The other columns are copied.

    Args:
        events: Everything that `prepare` reads: files, a glob, a directory, or a table.
        out: File to write, `.parquet` or `.csv`. It appears when it is complete, in place of an older one.
        key: The key, or the path of its file.
        columns: Columns of ids: `user_id`, or `buyer=user_id` for a column `buyer` whose ids mean the same people as those of
            `user_id` in this or another log. Without a domain after `=`, the domain is the name of the column.
        delimiter: Separator of the values in text files; None: detect it in each file.
        progress: As for `prepare`.

    Raises:
        DataError: The log cannot be read, a column is missing or does not contain ids, or a type cannot be written as CSV.
        ConfigError: The key cannot be read, a column is named twice, or `out` has another suffix, or is an input.
        ArtefactError: `out` cannot be written.
    """
    made = (
        PseudonymKey.read(key)
        if isinstance(key, str | Path)
        else instance("key", key, PseudonymKey, "give the path of a key file, or PseudonymKey.read(FILE)")
    )
    target = file_path("out", out)
    if target.suffix not in SUFFIXES:
        raise ConfigError(
            f"cannot write {target}: unknown suffix {target.suffix!r}{did_you_mean(target.suffix, SUFFIXES)}"
        )
    source = open_source(events, delimiter)
    domains = _domains(listed("columns", columns, "names of columns"), list(source.table.columns))
    for name in domains:
        source.check_ids(name)
    _refuse_input(target, [one["path"] for one in source.origin.get("files", [])])
    if isinstance(key, str | Path):
        _refuse_input(target, [str(key)])
    with step_reporter(progress, "pseudonymise") as report:
        rows, total = 0, sum(pq.read_metadata(path).num_rows for path in source.parquet)
        with _Output(target) as output:
            for batch in _batches(source):
                output.write(_replace(batch, domains, made))
                rows += batch.num_rows
                report(f"{rows:,} rows", min(1.0, rows / total) if total else 0.0)
            if not rows:
                raise DataError("the log has no events")
        report(f"{rows:,} rows", 1.0)
    return PseudonymisedLog(
        rows, domains, tuple(name for name in source.table.columns if name not in domains)
    )


def _domains(columns: Sequence[Any], known: list[str]) -> dict[str, str]:
    """Return the domain of each column, in the order in which they are named."""
    domains: dict[str, str] = {}
    for one in columns:
        if not isinstance(one, str) or not one:
            raise ConfigError(f"columns has {one!r}, which is not the name of a column")
        # a column may have an = in its name
        name, _, domain = (one, "", one) if one in known else one.partition("=")
        if name not in known:
            raise DataError(f"the log has no column {name!r}{did_you_mean(name, known)}")
        if name in domains:
            raise ConfigError(f"column {name!r} is named twice; name each column once")
        if not domain and "=" in one:
            raise ConfigError(f"columns has {one!r} without a domain after =; write {name} or {name}=user_id")
        domains[name] = domain or name
    if not domains:
        raise ConfigError("no column to replace; name the columns of ids, such as user_id,session_id")
    return domains


def _refuse_input(out: Path, inputs: Sequence[str]) -> None:
    if out.exists() and any(Path(one).exists() and out.samefile(one) for one in inputs):
        raise ConfigError(f"cannot write {out}: the command reads this file; name another file")


def _batches(source: Source) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a source in order, with the types of its columns."""
    if source.engine is not None:
        yield from source.engine.original_batches(source.table)
    else:
        yield from source.table.to_pyarrow_batches()


def _replace(batch: pa.RecordBatch, domains: dict[str, str], key: PseudonymKey) -> pa.RecordBatch:
    for name, domain in domains.items():
        place = batch.schema.get_field_index(name)
        ids = batch.column(place).dictionary_encode()  # each id is hashed once for a batch
        # an empty text is a missing id, which `prepare` refuses, and stays
        new = [one if one in (None, "") else key.pseudonym(domain, one) for one in ids.dictionary.to_pylist()]
        column = pa.array(new, pa.string()).take(ids.indices)
        batch = batch.set_column(place, name, column)
    return batch


class _Output:
    """A Parquet or CSV file that is written under a temporary name, and renamed if the block has no error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        with writing(path):
            self._target = resolved(path)
            self._partial = partial_file(self._target)

    def __enter__(self) -> "_Output":
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch; the first one sets the types."""
        try:
            with writing(self._path):
                if self._writer is None:
                    csv = self._target.suffix == ".csv"
                    make = pcsv.CSVWriter if csv else pq.ParquetWriter
                    self._writer = make(self._partial, batch.schema)
                self._writer.write_batch(batch)
        except pa.ArrowException as error:
            raise DataError(
                f"the log cannot be written to {self._path} ({error}); write a .parquet file"
            ) from None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._writer is not None:
                with writing(self._path):
                    self._writer.close()
            if kind is None:
                with writing(self._path):
                    self._partial.replace(self._target)
        finally:
            with suppress(OSError):
                self._partial.unlink()
