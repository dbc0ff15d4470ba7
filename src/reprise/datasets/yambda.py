"""Yambda (Ploshkin et al., "Yambda-5B", 2025): listens, likes and dislikes of a music service."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.argument_checks import file_path
from reprise.data.io.events import read_events
from reprise.datasets.public_log import PublicLog, PublishedSize, check_counts, columns, find_file, read_error

RELEASES = (
    PublishedSize("Yambda-50M", users=10_000),
    PublishedSize("Yambda-500M", users=100_000),
    PublishedSize("Yambda-5B", users=1_000_000),
)
BEGIN = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
"""Time given to the second 0 of the log, whose real date is not published."""


def yambda(path: str | Path, *, check: bool = True) -> PublicLog:
    """Read a flat file of Yambda. The value of a listen is the share of the track that was played, from 0 to 1.

    Times are seconds since an unpublished date, in steps of 5 s; here they begin in the year 2000. The hour of the day is
    therefore not that of the user.

    Args:
        path: `multi_event.parquet` or `listens.parquet` of `flat/50m`, `flat/500m` or `flat/5b`, or the directory with it.
        check: Whether the number of users must be that of a release.

    Raises:
        DataError: The file is missing or has another format or size.
    """
    file = find_file(file_path("path", path), "multi_event.parquet", "listens.parquet")
    try:
        raw = pq.read_table(file)
        found = columns(raw, {"user_id": "uid", "item_id": "item_id", "timestamp": "timestamp"})
        shifted = pc.add(pc.cast(found.column("timestamp"), pa.int64()), BEGIN)
        found = found.set_column(2, "timestamp", pc.cast(shifted, pa.timestamp("s", tz="UTC")))
        if "event_type" in raw.column_names:
            found = found.append_column("kind", raw.column("event_type").cast(pa.string()))
        if "played_ratio_pct" in raw.column_names:
            played = pc.divide(pc.cast(raw.column("played_ratio_pct"), pa.float32()), 100.0)
            found = found.append_column("value", played)
    except (pa.ArrowException, OSError) as error:
        raise read_error(file, error) from None
    if check:
        check_counts(file, found, "user_id", RELEASES)
    return PublicLog(read_events(found))
