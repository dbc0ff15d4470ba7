"""Training and test files of the official GRU4Rec: TSV with `SessionId`, `ItemId` and `Time`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from reprise.argument_checks import file_path
from reprise.data.io.events import read_events
from reprise.datasets.public_log import PublicLog, columns, find_file, read_error

NAMES = {"session_id": "SessionId", "item_id": "ItemId", "timestamp": "Time"}


def gru4rec(train: str | Path, test: str | Path, valid: str | Path | None = None) -> PublicLog:
    """Read the files of a GRU4Rec experiment into one log that keeps their split.

    `prepare(log.events, DIR, split=ColumnSplit("split"))` uses the split. Without a validation file, a sample of the
    training sessions is the validation part.

    Args:
        train: TSV file of the training sessions.
        test: TSV file of the test sessions.
        valid: TSV file of the validation sessions, if there is one.

    Raises:
        DataError: A file is missing, or has no columns `SessionId`, `ItemId` and `Time`.
    """
    files = {"train": train, "valid": valid, "test": test}
    tables = []
    for part, path in files.items():
        if path is not None:
            table = _read(find_file(file_path(part, path)))
            tables.append(table.append_column("split", pa.repeat(pa.scalar(part), len(table))))
    return PublicLog(read_events(pa.concat_tables(tables, promote_options="permissive")))


def _read(path: Path) -> pa.Table:
    try:
        return columns(pa_csv.read_csv(path, parse_options=pa_csv.ParseOptions(delimiter="\t")), NAMES)
    except pa.ArrowException as error:
        raise read_error(path, error) from None
