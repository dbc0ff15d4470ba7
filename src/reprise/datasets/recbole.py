"""Atomic files of RecBole: `.inter`, `.item` and `.user`, with types in their headers."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from reprise.argument_checks import file_path
from reprise.data.io.events import read_events
from reprise.datasets.public_log import PublicLog, read_error
from reprise.errors import DataError

TYPES = ("token", "float", "token_seq", "float_seq")
"""Types of RecBole's columns; the values of a sequence are separated by blanks."""


def recbole(
    path: str | Path, *, user: str = "user_id", item: str = "item_id", time: str = "timestamp"
) -> PublicLog:
    """Read a data set of RecBole with the types of its headers: `token` is text, `float` a number, `_seq` a list.

    Args:
        path: Directory of a data set (`ml-100k/` with `ml-100k.inter`), or its `.inter` file.
        user: USER_ID_FIELD of its configuration, or a session field.
        item: ITEM_ID_FIELD of its configuration.
        time: TIME_FIELD of its configuration.

    Returns:
        The events, with `rating` as their value if there is one, and the tables of the items and users if they exist.

    Raises:
        DataError: A file is missing, a header has no types, or the interactions are already cut into histories.
    """
    inter = _inter_file(file_path("path", path))
    header, table = _read(inter)
    cut = next((one.name for one in header if one.name == f"{item}_list" or one.type == "token_seq"), None)
    if cut is not None:
        raise DataError(
            f"{inter.name} has histories in the column {cut!r}; use the file with one interaction per row"
        )
    for role, name in (("user", user), ("item", item), ("time", time)):
        if name not in table.column_names:
            raise DataError(
                f"{inter.name} has no column {name!r}; it has {', '.join(table.column_names)}; name the {role} field: "
                f"recbole(path, {role}='...')"
            )
    items, users = (_optional(inter.with_suffix(suffix)) for suffix in (".item", ".user"))
    events = read_events(table, user=user, item=item, time=time)
    return PublicLog(events, _named(items, item, "item_id"), _named(users, user, "user_id"))


class _Column(NamedTuple):
    """A column of an atomic file."""

    name: str
    type: str


def _inter_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.inter"))
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise DataError(f"{str(path)!r} must have one .inter file, it has {names}; name the file")
    return found[0]


def _optional(path: Path) -> pa.Table | None:
    return _read(path)[1] if path.is_file() else None


def _named(table: pa.Table | None, old: str, new: str) -> pa.Table | None:
    if table is None:
        return None
    if old not in table.column_names:
        raise DataError(
            f"the table of {new.removesuffix('_id')}s has no column {old!r}; it has {', '.join(table.column_names)}"
        )
    return table.rename_columns([new if name == old else name for name in table.column_names])


def _read(path: Path) -> tuple[list[_Column], pa.Table]:
    try:
        with path.open(encoding="utf-8") as file:
            header = [
                _Column(*one.rpartition(":")[::2]) for one in file.readline().rstrip("\r\n").split("\t")
            ]
        wrong = next((one for one in header if not one.name or one.type not in TYPES), None)
        if wrong is not None:
            raise DataError(
                f"{path.name} has a column without a type of RecBole ({', '.join(TYPES)}) in its header: "
                f"{':'.join(filter(None, wrong))!r}; write it as name:type"
            )
        found = pa_csv.read_csv(
            path,
            pa_csv.ReadOptions(column_names=[one.name for one in header], skip_rows=1),
            pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            pa_csv.ConvertOptions(
                column_types={
                    one.name: pa.float64() if one.type == "float" else pa.string() for one in header
                }
            ),
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise read_error(path, error) from None
    for place, one in enumerate(header):
        if one.type.endswith("_seq"):
            found = found.set_column(place, one.name, _lists(found.column(one.name), one.type))
    return header, found


def _lists(texts: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Split texts at blanks; an empty text is an empty list."""
    lists = [[part for part in text.split(" ") if part] for text in texts.to_pylist()]
    array = pa.array(lists, pa.list_(pa.string()))
    return pc.cast(array, pa.list_(pa.float64())) if kind == "float_seq" else array
