"""Readers of public logs: small files in the original formats, and files of the published size."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reprise as rp
from reprise.data.io.events import Events
from reprise.data.split import ColumnSplit
from reprise.datasets import amazon, gru4rec, movielens, otto, recbole, retailrocket, yambda, yoochoose
from reprise.errors import DataError


def rows(events: Events) -> list[tuple[object, ...]]:
    """Return the rows of a log with times as milliseconds since 1970."""
    table = events.table.to_pyarrow()
    return [
        tuple(int(one.timestamp() * 1000) if hasattr(one, "timestamp") else one for one in row.values())
        for row in table.to_pylist()
    ]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


MOVIELENS = {
    "u.data": ("1\t7\t3.5\t881250949\n", "u.item", "7|Café (1995)|01-Jan-1995||http://x|0|1|0|1" + "|0" * 15 + "\n"),
    "ratings.dat": ("1::7::3.5::881250949\n", "movies.dat", "7::Café (1995)::Action|Children's\n"),
    "ratings.csv": (
        "userId,movieId,rating,timestamp\n1,7,3.5,881250949\n",
        "movies.csv",
        'movieId,title,genres\n7,"Café (1995)",Action|Children\'s\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("ratings", MOVIELENS)
def test_movielens_in_each_of_its_formats(tmp_path: Path, ratings: str) -> None:
    text, movies, titles = MOVIELENS[ratings]
    write(tmp_path / ratings, text)
    write(tmp_path / movies, titles, "utf-8" if ratings == "ratings.csv" else "latin-1")
    log = movielens(tmp_path, check=False)
    assert rows(log.events) == [(1, 7, 881250949000, 3.5)]
    assert log.items is not None
    category = ["Action", "Children's"] if ratings != "u.data" else ["Action", "Animation"]
    assert log.items.to_pylist() == [
        {"item_id": 7, "title": "Café (1995)", "year": 1995, "category": category}
    ]
    with pytest.raises(
        DataError, match=r"\(1 events, 1 users, 1 items\) has the size of no known release: ml-100k"
    ):
        movielens(tmp_path)


def test_a_log_of_the_published_size_passes_the_check(tmp_path: Path) -> None:
    """100,000 ratings of 943 users of 1,682 movies; one rating less is refused."""
    number = np.arange(100_000)
    lines = [f"{user}\t{item}\t3\t{time}" for user, item, time in zip(
        number % 943 + 1, number % 1682 + 1, 874_724_710 + number, strict=True
    )]  # fmt: skip
    write(tmp_path / "u.data", "\n".join(lines) + "\n")
    assert movielens(tmp_path).items is None
    write(tmp_path / "u.data", "\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="99,999 events"):
        movielens(tmp_path)


def test_a_log_can_be_prepared(tmp_path: Path) -> None:
    lines = [f"{user}::{item}::3::{874_724_710 + item}" for user in range(20) for item in range(9)]
    write(tmp_path / "ratings.dat", "\n".join(lines) + "\n")
    write(
        tmp_path / "movies.dat", "\n".join(f"{item}::Film {item} (1990)::Drama" for item in range(9)) + "\n"
    )
    log = rp.datasets.movielens(tmp_path, check=False)
    dataset = rp.prepare(
        log.events, tmp_path / "data", items=log.items, split=rp.LeaveOneOut(), progress=False
    )
    assert len(dataset) == 20
    assert sorted(dataset.titles()) == [f"Film {item} (1990)" for item in range(9)]


def test_retailrocket(tmp_path: Path) -> None:
    head = "timestamp,visitorid,event,itemid,transactionid\n"
    write(
        tmp_path / "events.csv", head + "1433221332117,257597,view,355908,\n1433221332118,1,transaction,2,9\n"
    )
    log = retailrocket(tmp_path, check=False)
    assert rows(log.events) == [
        (257597, 355908, 1433221332117, "view"),
        (1, 2, 1433221332118, "transaction"),
    ]
    with pytest.raises(DataError, match=r"no known release: Retailrocket \(2,756,101 events"):
        retailrocket(tmp_path)


def test_yoochoose_with_and_without_purchases(tmp_path: Path) -> None:
    write(
        tmp_path / "yoochoose-clicks.dat",
        "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,7,S\n",
    )
    write(tmp_path / "yoochoose-buys.dat", "1,2014-04-07T10:55:00.000Z,7,12462,1\n")
    assert rows(yoochoose(tmp_path, check=False).events) == [
        (214536502, 1396867869277, 1),
        (7, 1396868049868, 1),
    ]
    assert rows(yoochoose(tmp_path, buys=True, check=False).events)[-1] == (7, 1396868100000, 1, "buy")
    with pytest.raises(DataError, match="33,003,944 events"):
        yoochoose(tmp_path)


def test_amazon_reviews_of_both_collections(tmp_path: Path) -> None:
    old = {
        "reviewerID": "A1",
        "asin": "B1",
        "overall": 5.0,
        "unixReviewTime": 1400000000,
        "reviewText": "good",
    }
    new = {"user_id": "A1", "parent_asin": "B1", "rating": 5.0, "timestamp": 1400000000000, "images": []}
    file = tmp_path / "reviews_Beauty_5.json.gz"
    file.write_bytes(gzip.compress(json.dumps(old).encode()))
    expected = [("A1", "B1", 1400000000000, 5.0)]
    assert rows(amazon(file, check=False).events) == expected
    with pytest.raises(DataError, match=r"no known release: Beauty_5 \(198,502 events"):
        amazon(file)
    assert rows(amazon(write(tmp_path / "All_Beauty.jsonl", json.dumps(new) + "\n")).events) == expected
    text = "user_id,parent_asin,rating,timestamp\nA1,B1,5.0,1400000000000\n"
    assert rows(amazon(write(tmp_path / "All_Beauty.csv", text)).events) == expected


def test_otto_has_one_row_per_event(tmp_path: Path) -> None:
    def event(item: int, time_s: int, kind: str) -> dict[str, object]:
        return {"aid": item, "ts": 1661200000000 + 1000 * time_s, "type": kind}

    sessions = [
        {"session": 4, "events": [event(1, 10, "clicks"), event(2, 20, "carts")]},
        {"session": 5, "events": [event(1, 30, "orders")]},
    ]
    write(tmp_path / "otto-recsys-train.jsonl", "".join(json.dumps(one) + "\n" for one in sessions))
    assert rows(otto(tmp_path, check=False).events) == [
        (1, 1661200010000, 4, "clicks"),
        (2, 1661200020000, 4, "carts"),
        (1, 1661200030000, 5, "orders"),
    ]
    with pytest.raises(DataError, match="otto-recsys-train"):
        otto(tmp_path)


def test_yambda_has_kinds_and_the_share_that_was_played(tmp_path: Path) -> None:
    table = pa.table(
        {
            "uid": pa.array([100, 100], pa.uint32()),
            "timestamp": pa.array([5, 10], pa.uint32()),
            "item_id": pa.array([7, 8], pa.uint32()),
            "is_organic": pa.array([1, 0], pa.uint8()),
            "played_ratio_pct": pa.array([50, None], pa.uint16()),
            "event_type": pa.array(["listen", "like"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "multi_event.parquet")
    assert rows(yambda(tmp_path, check=False).events) == [
        (100, 7, 946684805000, "listen", 0.5),
        (100, 8, 946684810000, "like", None),
    ]
    with pytest.raises(DataError, match=r"Yambda-50M \(10,000 users\)"):
        yambda(tmp_path)


def test_recbole_columns_have_the_types_of_their_headers(tmp_path: Path) -> None:
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    write(tmp_path / "ml.inter", head + "07\t1\t3\t881250949\n")
    write(
        tmp_path / "ml.item",
        'item_id:token\ttitle:token_seq\tsize:float\tvector:float_seq\n1\tThe "Film\t2.5\t1 2\n',
    )
    write(tmp_path / "ml.user", "user_id:token\tage:token\n07\t24\n")
    log = recbole(tmp_path)
    assert rows(log.events) == [("07", "1", 881250949.0, 3.0)]
    assert log.items is not None
    assert log.items.to_pylist() == [
        {"item_id": "1", "title": ["The", '"Film'], "size": 2.5, "vector": [1.0, 2.0]}
    ]
    assert log.users is not None
    assert log.users.to_pylist() == [{"user_id": "07", "age": "24"}]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("user_id\titem_id:token", "has a column without a type of RecBole .*: 'user_id'"),
        (
            "user_id:token\titem_id:token",
            "has no column 'timestamp'; it has user_id, item_id; name the time field",
        ),
        ("user_id:token\titem_id_list:token_seq", "has histories in the column 'item_id_list'"),
    ],
)
def test_other_files_of_recbole_are_refused(tmp_path: Path, head: str, message: str) -> None:
    write(tmp_path / "ml.inter", f"{head}\n1\t2\n")
    with pytest.raises(DataError, match=message):
        recbole(tmp_path)


def test_gru4rec_files_keep_their_split(tmp_path: Path) -> None:
    def text(sessions: range) -> str:
        lines = [
            f"{one}\t{item}\t{1_396_861_869 + 60 * one + item}.5" for one in sessions for item in range(1, 4)
        ]
        return "\n".join(["SessionId\tItemId\tTime", *lines, ""])

    train, test = (
        write(tmp_path / "train.tsv", text(range(20))),
        write(tmp_path / "test.tsv", text(range(20, 25))),
    )
    log = gru4rec(train, test)
    dataset = rp.prepare(log.events, tmp_path / "data", split=ColumnSplit("split"), progress=False)
    assert dataset.part_events("test") == 5 * 3
    assert dataset.events == 25 * 3
    write(test, "a\tb\n1\t2\n")
    with pytest.raises(DataError, match="no column 'SessionId'; the file has a, b"):
        gru4rec(train, test)


@pytest.mark.parametrize("read", [movielens, retailrocket, yoochoose, otto, yambda])
def test_a_missing_file_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(DataError, match="is not a file and has none of the files"):
        read(tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("read", "name"),
    [(movielens, "ratings.csv"), (retailrocket, "events.csv"), (yoochoose, "yoochoose-clicks.dat"),
     (otto, "train.jsonl"), (yambda, "listens.parquet"), (movielens, "u.data")],
)  # fmt: skip
def test_another_format_is_named(tmp_path: Path, read: object, name: str) -> None:
    write(tmp_path / name, "something,else\n1\n")
    with pytest.raises(DataError, match="original file"):
        read(tmp_path)  # type: ignore[operator]
