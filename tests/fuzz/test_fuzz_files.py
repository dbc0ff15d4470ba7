"""Event files are read as they were written, and damaged ones are refused with a message."""

import csv
import gzip
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from rounds import Fuzz, check_message

from reprise.data.dataset import SequenceDataset
from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.data.split import LeaveOneOut
from reprise.errors import RepriseError

START_S = 1_700_000_000
PLAIN_ROWS = 25_000
"""Number of plain rows before the others in some files: more than the samples that table engines take."""
number = itertools.count()

words = st.text(
    st.one_of(
        st.sampled_from("#\"',;|\t :%\\/[]{}nullNaN0123456789-"),
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\u0085\ufeff"),
    ),
    min_size=1,
    max_size=8,
).filter(lambda text: text == text.strip())
numbers = st.integers(-(2**63), 2**63 - 1)
Id = str | int


class EventLog(NamedTuple):
    """The rows of a log, without duplicates, and whether many plain rows come first."""

    rows: list[tuple[Id, Id, float]]
    late: bool


@st.composite
def event_logs(draw: Callable[[Any], Any], times: Any = None) -> EventLog:
    """Return a log of at least two users with at least four events each, in the order of time."""
    times = st.integers(0, 10**7) if times is None else times
    users = draw(st.lists(draw(st.sampled_from([words, numbers])), min_size=2, max_size=4, unique_by=str))
    items = draw(st.lists(draw(st.sampled_from([words, numbers])), min_size=2, max_size=5, unique_by=str))
    rows: list[tuple[Id, Id, float]] = []
    for user in users:
        moments = draw(st.lists(times, min_size=4, max_size=6, unique=True))
        rows += [(user, draw(st.sampled_from(items)), START_S + moment) for moment in moments]
    return EventLog(rows, draw(st.integers(0, 9)) == 0)


def all_rows(log: EventLog) -> list[tuple[Id, Id, float]]:
    """Return the rows with the plain ones first. Their ids are integers, so the type of a column shows only after them."""
    plain = [
        (place % 50, place % 7, START_S - PLAIN_ROWS + place)
        for place in range(PLAIN_ROWS if log.late else 0)
    ]
    return [*plain, *log.rows]


def expected(log: EventLog, is_integer: Callable[[Id], bool]) -> dict[Id, list[tuple[Id, int]]]:
    """Return the events of each user, with ids by the rule: integers only if every id of the column is one."""
    rows = all_rows(log)
    user_of, item_of = (
        int if all(map(is_integer, {row[place] for row in rows})) else str for place in (0, 1)
    )
    users: dict[Id, list[tuple[Id, int]]] = {}
    for user, item, time_s in rows:
        users.setdefault(user_of(user), []).append((item_of(item), round(time_s * 1000)))
    return {user: sorted(events, key=lambda event: event[1]) for user, events in users.items()}


def is_written_as_integer(one: Id) -> bool:
    text = str(one)
    return bool(re.fullmatch("0|-?[1-9][0-9]*", text)) and -(2**63) <= int(text) < 2**63


def is_integer(one: Id) -> bool:
    return isinstance(one, int)


def found(dataset: SequenceDataset, path: Path) -> dict[Id, list[tuple[Id, int]]]:
    keys = pq.read_table(path / "sequences.parquet").column(0).to_pylist()
    bounds = zip(dataset.offset[:-1].tolist(), dataset.offset[1:].tolist(), strict=True)
    return {
        key: list(zip(dataset.items.item_ids(dataset.item[a:b]), dataset.time_ms[a:b].tolist(), strict=True))
        for key, (a, b) in zip(keys, bounds, strict=True)
    }


def check_read_as_written(work: Path, file: Path, events: dict[Id, list[tuple[Id, int]]]) -> None:
    out = work / f"data {next(number)}"
    dataset = prepare(read_events(file), out, split=LeaveOneOut(), progress=False)
    try:
        assert found(dataset, out) == events
    finally:
        shutil.rmtree(out)


class CsvStyle(NamedTuple):
    """One of the ways in which programs write delimited text."""

    delimiter: str
    quoting: int
    line_ends: tuple[str, ...]
    byte_order_mark: bool
    last_line_end: bool
    compressed: bool
    order: tuple[str, ...]


csv_styles = st.builds(
    CsvStyle,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_ends=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=1, max_size=3).map(tuple),
    byte_order_mark=st.booleans(),
    last_line_end=st.booleans(),
    compressed=st.booleans(),
    order=st.permutations(["user_id", "item_id", "timestamp", "note"]).map(tuple),
)


def csv_bytes(log: EventLog, style: CsvStyle) -> bytes:
    ends, lines = itertools.cycle(style.line_ends), []
    for place, (user, item, time_s) in enumerate([("user_id", "item_id", "timestamp"), *all_rows(log)]):
        note = "note" if not place else 'a "note", with\nbreaks; and #' if place % 3 == 0 else ""
        values = {"user_id": user, "item_id": item, "timestamp": time_s, "note": note}
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=style.delimiter, quoting=style.quoting, lineterminator="")
        writer.writerow([values[name] for name in style.order])
        lines.append(buffer.getvalue() + next(ends))
    text = "".join(lines)
    if not style.last_line_end:
        text = text.rstrip("\r\n")
    data = (b"\xef\xbb\xbf" if style.byte_order_mark else b"") + text.encode()
    return gzip.compress(data, 1) if style.compressed else data


def test_fuzz_csv_files_are_read_as_written(fuzz: Fuzz, work: Path) -> None:
    @given(log=event_logs(), style=csv_styles)
    def check(log: EventLog, style: CsvStyle) -> None:
        file = work / ("log.csv.gz" if style.compressed else "log.csv")
        file.write_bytes(csv_bytes(log, style))
        check_read_as_written(work, file, expected(log, is_written_as_integer))

    fuzz(check)


def test_fuzz_json_lines_are_read_as_written(fuzz: Fuzz, work: Path) -> None:
    times = st.one_of(st.integers(0, 10**7), st.integers(0, 10**10).map(lambda ms: ms / 1000))

    @given(log=event_logs(times), ascii_only=st.booleans(), extra=st.booleans())
    def check(log: EventLog, ascii_only: bool, extra: bool) -> None:
        lines = []
        for place, (user, item, time_s) in enumerate(all_rows(log)):
            row: dict[str, Any] = {"user_id": user, "item_id": item, "timestamp": time_s}
            if extra and place % 2:
                row["details"] = {"list": [place, None, "x"], "flag": True}
            lines.append(json.dumps(row, ensure_ascii=ascii_only))
        file = work / "log.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        check_read_as_written(work, file, expected(log, is_integer))

    fuzz(check)


def test_fuzz_parquet_files_and_tables_are_read_as_written(fuzz: Fuzz, work: Path) -> None:
    @given(log=event_logs(), categories=st.booleans(), large=st.booleans(), in_memory=st.booleans())
    def check(log: EventLog, categories: bool, large: bool, in_memory: bool) -> None:
        columns = list(zip(*log.rows, strict=True))
        arrays = []
        for values in columns[:2]:
            texts = any(isinstance(one, str) for one in values)
            array = (
                pa.array(map(str, values), pa.large_string() if large else pa.string())
                if texts
                else pa.array(values)
            )
            arrays.append(array.dictionary_encode() if categories else array)
        table = pa.table({"user_id": arrays[0], "item_id": arrays[1], "timestamp": pa.array(columns[2])})
        out = work / f"data {next(number)}"
        if not in_memory:
            pq.write_table(table, work / "log.parquet")
        dataset = prepare(
            table if in_memory else work / "log.parquet", out, split=LeaveOneOut(), progress=False
        )
        users: dict[Id, list[tuple[Id, int]]] = {}
        for user, item, time_s in zip(*(column.to_pylist() for column in table.columns), strict=True):
            users.setdefault(user, []).append((item, time_s * 1000))
        assert found(dataset, out) == {
            user: sorted(events, key=lambda event: event[1]) for user, events in users.items()
        }
        shutil.rmtree(out)

    fuzz(check)


def corpus() -> dict[str, bytes]:
    """Return small valid files by name."""
    rows = [
        (f"u{user}", f"i{(user + place) % 5}", START_S + place) for user in range(4) for place in range(5)
    ]
    text = "user_id,item_id,timestamp\n" + "".join(f"{user},{item},{time_s}\n" for user, item, time_s in rows)
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    inter = header + "".join(f"{user}\t{item}\t{time_s}\n" for user, item, time_s in rows)
    lines = "".join(json.dumps({"user_id": u, "item_id": i, "timestamp": t}) + "\n" for u, i, t in rows)
    table = pa.table(
        dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return {
        "log.csv": text.encode(),
        "log.tsv": text.replace(",", "\t").encode(),
        "log.inter": inter.encode(),
        "log.jsonl": lines.encode(),
        "log.parquet": sink.getvalue().to_pybytes(),
        "log.csv.gz": gzip.compress(text.encode()),
    }


class Damage(NamedTuple):
    """A change of some bytes of a file."""

    action: str
    start: float
    length: int
    data: bytes

    def apply(self, content: bytes) -> bytes:
        start = int(self.start * len(content))
        cut, rest = content[:start], content[start + self.length :]
        match self.action:
            case "delete":
                return cut + rest
            case "insert":
                return cut + self.data + content[start:]
            case "replace":
                return cut + self.data + rest
            case "repeat":
                return cut + content[start : start + self.length] * 3 + rest
        return cut


pieces = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"\x00", b'"', b"\r", b"\n\n", b",,", b"\xff\xfe", b"\xef\xbb\xbf", b"nan", b"[", b"{}", b"-1", b"1e400", b"null",
         b'{"a":', "😀".encode(), b"PAR1", b"," * 300, b"9" * 400]
    ),
)  # fmt: skip
damages = st.builds(
    Damage,
    st.sampled_from(["delete", "insert", "replace", "repeat", "truncate"]),
    st.floats(0, 1),
    st.integers(0, 40),
    pieces,
)


def test_fuzz_damaged_event_files_are_read_or_refused(fuzz: Fuzz, work: Path) -> None:
    files = corpus()

    @given(name=st.sampled_from(sorted(files)), changes=st.lists(damages, min_size=1, max_size=3))
    def check(name: str, changes: list[Damage]) -> None:
        content = files[name]
        for change in changes:
            content = change.apply(content)
        (work / name).write_bytes(content)
        out = work / f"data {next(number)}"
        try:
            prepare(read_events(work / name), out, split=LeaveOneOut(), progress=False)
        except RepriseError as error:
            check_message(error)
        finally:
            for left in work.glob("*data*"):
                shutil.rmtree(left)

    fuzz(check)


def test_fuzz_damaged_datasets_are_opened_or_refused(fuzz: Fuzz, shop: Path, work: Path) -> None:
    files = {file.name: file.read_bytes() for file in (shop / "data").iterdir() if file.is_file()}

    @given(name=st.sampled_from(sorted(files)), changes=st.lists(damages, min_size=1, max_size=2))
    def check(name: str, changes: list[Damage]) -> None:
        content = files[name]
        for change in changes:
            content = change.apply(content)
        (work / "data").mkdir(exist_ok=True)
        for other, data in files.items():
            (work / "data" / other).write_bytes(content if other == name else data)
        try:
            SequenceDataset.open(work / "data")
        except RepriseError as error:
            check_message(error)

    fuzz(check)
