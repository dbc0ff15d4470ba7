"""Ranked lists of items from a table or a TREC run file: one list for each user, best item first.

Shape letters: R rows of the input, L listed items. A TREC run file has six columns without a header: query, `Q0`,
document, rank, score and the name of the run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.arrays import AnyArray
from reprise.data.io.column_names import join_names
from reprise.data.io.events import find_column
from reprise.data.io.sources import open_source
from reprise.errors import DataError

Order = Literal["rank", "score"]
"""Column that orders a list: the rank, ascending, or the score, descending."""
TREC_SUFFIXES = (".run", ".trec")
TREC_COLUMNS = 6
TREC_MARK = "Q0"
"""Second value of every line of a TREC run file."""
COLUMNS = "user_id, item_id, and rank or score"


@dataclass(frozen=True, eq=False)
class ExternalLists:
    """Ranked lists of items. The rows of a user are next to each other, best item first."""

    user: AnyArray
    """Id of the user of each listed item as text, [L]."""
    item: AnyArray
    """Id of each listed item as text, [L]."""
    key: AnyArray
    """Rank, or score with the opposite sign, [L], float64; never decreases within a list."""


def read_lists(source: Any, by: Order | None = None) -> ExternalLists:
    """Read ranked lists.

    Args:
        source: A pandas, polars or Arrow table, a dict of columns or a list of dicts with the columns `user_id` (or
            `session_id`), `item_id`, and `rank` or `score`; a CSV, Parquet or JSON lines file with these columns; or a
            TREC run file (`.run`, `.trec`, or `Q0` in its first line).
        by: Column that orders the lists; None: `rank`, or `score` if there is no rank. Only the order of ranks counts, so
            that they may begin with 0 and have gaps.

    Raises:
        DataError: A column or a value is missing, a rank or score is not a finite number, a list has an item twice, or two
            items of a list have the same rank.
    """
    table = _read_trec(Path(source)) if _is_trec(source) else open_source(source).table.to_pyarrow()
    names = list(table.column_names)
    user = find_column("user", names) or find_column("session", names)
    item = find_column("item", names)
    order = by or ("rank" if "rank" in names else "score")
    if user is None or item is None or order not in names:
        raise DataError(
            f"ranked lists have the columns {COLUMNS}; the table has {join_names(names)}; rename them"
        )
    user_R, item_R = _ids(table, user), _ids(table, item)
    key_R = _numbers(table, order) * (1 if order == "rank" else -1)
    place_L = np.lexsort((key_R, user_R.codes))
    lists = ExternalLists(user_R.text(place_L), item_R.text(place_L), key_R[place_L])
    _check_duplicates(lists, user_R.codes[place_L], item_R.codes[place_L], order)
    return lists


@dataclass(frozen=True, eq=False)
class _Ids:
    """A column of ids as codes of distinct texts."""

    codes: AnyArray
    distinct: AnyArray

    def text(self, place_L: AnyArray) -> AnyArray:
        found: AnyArray = self.distinct[self.codes[place_L]]
        return found


def _ids(table: pa.Table, name: str) -> _Ids:
    column = table.column(name).combine_chunks()
    if pa.types.is_floating(column.type) or pa.types.is_null(column.type):
        raise DataError(f"column {name!r} of the lists is {column.type}; convert the ids to integers or text")
    if column.null_count:
        raise DataError(
            f"column {name!r} of the lists has {column.null_count:,} missing values; remove these rows"
        )
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    encoded = pc.dictionary_encode(column.cast(pa.string()))
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return _Ids(
        np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64),
        np.array([*encoded.dictionary.to_pylist(), None], dtype=object)[:-1],
    )


def _numbers(table: pa.Table, name: str) -> AnyArray:
    column = table.column(name)
    try:
        values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {name!r} of the lists must hold numbers ({str(error).splitlines()[0]})"
        ) from None
    bad_R = ~np.isfinite(values)
    if bad_R.any():
        row = int(bad_R.argmax())
        raise DataError(
            f"column {name!r} of the lists has {int(bad_R.sum()):,} values that are missing or not finite "
            f"(the first in row {row + 1}); remove these rows"
        )
    return values


def _check_duplicates(lists: ExternalLists, user_L: AnyArray, item_L: AnyArray, order: Order) -> None:
    """Check that no list has an item twice, and no two items with the same rank."""
    by_item_L = np.lexsort((item_L, user_L))
    twice = (np.diff(user_L[by_item_L]) == 0) & (np.diff(item_L[by_item_L]) == 0)
    if twice.any():
        place = int(by_item_L[int(twice.argmax())])
        raise DataError(
            f"the list of user {lists.user[place]!r} has the item {lists.item[place]!r} twice "
            f"({int(twice.sum()):,} such rows in all); keep each item once"
        )
    same = (np.diff(user_L) == 0) & (np.diff(lists.key) == 0)
    if order == "rank" and same.any():
        place = int(same.argmax())
        raise DataError(
            f"the list of user {lists.user[place]!r} has two items with rank {lists.key[place]:g} "
            f'({int(same.sum()):,} such rows in all); give each its own rank, or order the lists with by="score"'
        )


def _is_trec(source: Any) -> bool:
    if not isinstance(source, (str, Path)) or not Path(source).is_file():
        return False
    if Path(source).suffix.lower() in TREC_SUFFIXES:
        return True
    with Path(source).open("rb") as file:
        values = file.readline(1 << 16).split()
    return len(values) == TREC_COLUMNS and values[1] == TREC_MARK.encode()


def _read_trec(path: Path) -> pa.Table:
    user, item, rank, score = [], [], [], []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                values = line.split()
                if not values:
                    continue
                if len(values) != TREC_COLUMNS:
                    raise DataError(
                        f"line {number} of {path} has {len(values)} values; a TREC run file has {TREC_COLUMNS}: "
                        "query Q0 document rank score name"
                    )
                user.append(values[0])
                item.append(values[2])
                rank.append(values[3])
                score.append(values[4])
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}); a TREC run file is UTF-8 text") from None
    if not user:
        raise DataError(f"{path} has no lines; a TREC run file has one line per listed item")
    return pa.table({"user_id": user, "item_id": item, "rank": rank, "score": score})
