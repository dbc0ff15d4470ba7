"""Public logs of shops: Retailrocket, Yoochoose (RecSys Challenge 2015), Amazon reviews and OTTO."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from reprise.argument_checks import file_path
from reprise.data.io.events import read_events
from reprise.datasets.public_log import (
    PublicLog,
    PublishedSize,
    check_counts,
    columns,
    find_file,
    milliseconds,
    read_error,
    seconds,
)
from reprise.errors import DataError

RETAILROCKET = (PublishedSize("Retailrocket", 2_756_101, 1_407_580, 235_061),)
YOOCHOOSE = (PublishedSize("yoochoose-clicks", 33_003_944, 9_249_729, 52_739),)
OTTO = (
    PublishedSize("otto-recsys-train", 216_716_096, 12_899_779, 1_855_603),
    PublishedSize("otto-recsys-test", 13_851_293, 1_671_803, 1_019_357),
)
AMAZON = {
    "Beauty_5": PublishedSize("Beauty_5", 198_502, 22_363, 12_101),
    "Toys_and_Games_5": PublishedSize("Toys_and_Games_5", 167_597, 19_412, 11_924),
    "Sports_and_Outdoors_5": PublishedSize("Sports_and_Outdoors_5", 296_337, 35_598, 18_357),
    "Video_Games_5": PublishedSize("Video_Games_5", 231_780, 24_303, 10_672),
}
"""Published sizes of 5-core files of 2014; other files of the collection are not compared."""


def retailrocket(path: str | Path, *, check: bool = True) -> PublicLog:
    """Read the events of Retailrocket (2016): views, `addtocart` and transactions of visitors.

    Args:
        path: `events.csv`, or the directory with it.
        check: Whether the size must be the published one.

    Raises:
        DataError: The file is missing or has another format or size.
    """
    file = find_file(file_path("path", path), "events.csv")
    names = {"user_id": "visitorid", "item_id": "itemid", "kind": "event", "time": "timestamp"}
    try:
        found = columns(pa_csv.read_csv(file), names)
        table = found.append_column("timestamp", milliseconds(found.column("time"))).drop_columns(["time"])
    except pa.ArrowException as error:
        raise read_error(file, error) from None
    if check:
        check_counts(file, table, "user_id", RETAILROCKET)
    return PublicLog(read_events(table))


def yoochoose(path: str | Path, *, buys: bool = False, check: bool = True) -> PublicLog:
    """Read the clicks of Yoochoose, the log of the RecSys Challenge 2015. Its sessions have no users.

    Args:
        path: `yoochoose-clicks.dat`, or the directory with it.
        buys: Whether to add the purchases of `yoochoose-buys.dat` in the same directory, as events of the kind `buy`.
        check: Whether the number of clicks, sessions and items must be the published one.

    Raises:
        DataError: A file is missing or has another format or size.
    """
    file = find_file(file_path("path", path), "yoochoose-clicks.dat")
    clicks = _read_yoochoose(file, ["session_id", "timestamp", "item_id", "category"])
    if check:
        check_counts(file, clicks, "session_id", YOOCHOOSE)
    if not buys:
        return PublicLog(read_events(clicks))
    bought = _read_yoochoose(
        find_file(file.parent, "yoochoose-buys.dat"),
        ["session_id", "timestamp", "item_id", "price", "quantity"],
    )
    parts = [
        table.append_column("kind", pa.repeat(pa.scalar(kind), len(table)))
        for table, kind in ((clicks, "click"), (bought, "buy"))
    ]
    return PublicLog(read_events(pa.concat_tables(parts)))


def _read_yoochoose(path: Path, names: list[str]) -> pa.Table:
    types = {"session_id": pa.int64(), "item_id": pa.int64(), "timestamp": pa.timestamp("ms", tz="UTC")}
    try:
        found = pa_csv.read_csv(
            path,
            pa_csv.ReadOptions(column_names=names),
            convert_options=pa_csv.ConvertOptions(column_types=types, include_columns=list(types)),
        )
    except pa.ArrowException as error:
        raise read_error(path, error) from None
    return found


def amazon(path: str | Path, *, check: bool = True) -> PublicLog:
    """Read Amazon reviews (McAuley et al., 2014; Hou et al., 2023): every review is an event, with the rating as its value.

    Args:
        path: JSON lines of reviews of 2014 (`reviews_Beauty_5.json`) or 2023 (`All_Beauty.jsonl`), or a CSV file of ratings of
            2023 (`user_id,parent_asin,rating,timestamp`); also compressed as `.gz`.
        check: Whether the size of a known 5-core file must be the published one.

    Raises:
        DataError: The file is missing or has another format or size.
    """
    file = find_file(file_path("path", path))
    is_csv = ".csv" in file.suffixes
    try:
        with pa.input_stream(str(file)) as stream:
            raw = pa_csv.read_csv(stream) if is_csv else pa_json.read_json(stream)
        if "reviewerID" in raw.column_names:
            names = {"user_id": "reviewerID", "item_id": "asin", "value": "overall", "time": "unixReviewTime"}
            found, convert = columns(raw, names), seconds
        else:
            names = {"user_id": "user_id", "item_id": "parent_asin", "value": "rating", "time": "timestamp"}
            found, convert = columns(raw, names), milliseconds
        table = found.append_column("timestamp", convert(found.column("time"))).drop_columns(["time"])
    except (pa.ArrowException, OSError) as error:
        raise read_error(file, error) from None
    known = [one for name, one in AMAZON.items() if f"reviews_{name}." in file.name]
    if check and known:
        check_counts(file, table, "user_id", known)
    return PublicLog(read_events(table))


def otto(path: str | Path, *, check: bool = True) -> PublicLog:
    """Read the sessions of OTTO (Normann et al., 2022): clicks, carts and orders.

    The table is in memory: about 30 bytes for each of the 217 million events of the training file.

    Args:
        path: `otto-recsys-train.jsonl` or `otto-recsys-test.jsonl`, or the directory with the first.
        check: Whether the size must be the published one.

    Raises:
        DataError: The file is missing or has another format or size.
    """
    file = find_file(file_path("path", path), "otto-recsys-train.jsonl", "train.jsonl")
    event = pa.struct([("aid", pa.int32()), ("ts", pa.int64()), ("type", pa.string())])
    schema = pa.schema([("session", pa.int32()), ("events", pa.list_(event))])
    options = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    parts = []
    try:
        with pa_json.open_json(str(file), pa_json.ReadOptions(block_size=1 << 26), options) as batches:
            parts = [_explode(batch) for batch in batches]
    except pa.ArrowException as error:
        raise read_error(file, error) from None
    if not parts:
        raise DataError(f"{str(file)!r} has no sessions; download it again")
    table = pa.concat_tables(parts).unify_dictionaries()
    table = table.set_column(2, "timestamp", milliseconds(table.column("timestamp")))
    if check:
        check_counts(file, table, "session_id", OTTO)
    return PublicLog(read_events(table.set_column(3, "kind", table.column("kind").cast(pa.string()))))


def _explode(batch: pa.RecordBatch) -> pa.Table:
    """Return one row per event of the sessions in a batch."""
    parents, events = pc.list_parent_indices(batch.column("events")), pc.list_flatten(batch.column("events"))
    return pa.table(
        {
            "session_id": batch.column("session").take(parents),
            "item_id": pc.struct_field(events, "aid"),
            "timestamp": pc.struct_field(events, "ts"),
            "kind": pc.struct_field(events, "type").dictionary_encode(),
        }
    )
