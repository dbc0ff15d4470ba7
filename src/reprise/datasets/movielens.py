"""MovieLens (Harper and Konstan, "The MovieLens Datasets", 2015): ratings of movies, in each of its file formats."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from reprise.argument_checks import file_path
from reprise.data.io.events import read_events
from reprise.datasets.public_log import (
    PublicLog,
    PublishedSize,
    check_counts,
    columns,
    find_file,
    read_error,
    seconds,
)

RELEASES = (
    PublishedSize("ml-100k", 100_000, 943, 1_682),
    PublishedSize("ml-1m", 1_000_209, 6_040, 3_706),
    PublishedSize("ml-10m", 10_000_054, 69_878, 10_677),
    PublishedSize("ml-20m", 20_000_263, 138_493),
    PublishedSize("ml-25m", 25_000_095, 162_541),
    PublishedSize("ml-32m", 32_000_204, 200_948),
    PublishedSize("ml-latest-small", 100_836, 610, 9_724),
)
"""Numbers of ratings, users and rated movies, from the README of each release."""
RATINGS = ("ratings.csv", "ratings.dat", "u.data")
MOVIES = {"ratings.csv": "movies.csv", "ratings.dat": "movies.dat", "u.data": "u.item"}
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""Genres of ml-100k, in the order of its 19 flags."""
FIELDS_100K = 5
"""Fields of a line of `u.item` before the flags."""


def movielens(path: str | Path, *, check: bool = True) -> PublicLog:
    """Read a release of MovieLens: every rating is an event, with the rating as its value.

    Args:
        path: Directory of an unpacked release (ml-100k to ml-32m, or latest).
        check: Whether the size must be that of a known release; use False for the full `latest`, which grows.

    Returns:
        The events, and the movies with `title`, `year` and `category` (their genres).

    Raises:
        DataError: A file is missing or has another format, or the size is not that of a release.
    """
    ratings = find_file(file_path("path", path), *RATINGS)
    table = _read_ratings(ratings)
    if check:
        check_counts(ratings, table, "user_id", RELEASES)
    movies = ratings.parent / MOVIES.get(ratings.name, "movies.csv")
    return PublicLog(read_events(table), _read_movies(movies) if movies.is_file() else None)


def _read_ratings(path: Path) -> pa.Table:
    names = {"user_id": "userId", "item_id": "movieId", "value": "rating", "time": "timestamp"}
    try:
        if path.suffix == ".csv":
            found = columns(pa_csv.read_csv(path), names)
        else:
            separated = path.read_bytes().replace(b"::", b"\t")
            found = pa_csv.read_csv(
                pa.BufferReader(separated),
                pa_csv.ReadOptions(column_names=list(names)),
                pa_csv.ParseOptions(delimiter="\t"),
            )
        return found.append_column("timestamp", seconds(found.column("time"))).drop_columns(["time"])
    except (pa.ArrowException, OSError) as error:
        raise read_error(path, error) from None


def _read_movies(path: Path) -> pa.Table:
    rows = _csv_rows(path) if path.suffix == ".csv" else _text_rows(path)
    item, title, category = zip(*rows, strict=True)
    # "Toy Story (1995)" has the year at its end
    year = [int(one[-5:-1]) if one[-5:-1].isdigit() and one.endswith(")") else None for one in title]
    return pa.table(
        {"item_id": item, "title": title, "year": pa.array(year, pa.int64()), "category": category}
    )


def _csv_rows(path: Path) -> list[tuple[int, str, list[str]]]:
    try:
        found = columns(pa_csv.read_csv(path), {"item": "movieId", "title": "title", "genres": "genres"})
    except pa.ArrowException as error:
        raise read_error(path, error) from None
    return [
        (row["item"], str(row["title"]).strip(), _genres(str(row["genres"]))) for row in found.to_pylist()
    ]


def _text_rows(path: Path) -> list[tuple[int, str, list[str]]]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")  # ml-10m
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # ml-100k and ml-1m
    rows = []
    for line in text.split("\n"):
        fields = line.rstrip("\r").split("|" if path.name == "u.item" else "::")
        if len(fields) == 1:
            continue
        try:
            if path.name == "u.item":
                flags = zip(GENRES_100K, fields[FIELDS_100K:], strict=True)
                genres = [genre for genre, flag in flags if flag == "1"]
            else:
                genres = _genres(fields[2])
            rows.append((int(fields[0]), fields[1].strip(), genres))
        except (ValueError, IndexError) as error:
            raise read_error(path, error) from None
    return rows


def _genres(text: str) -> list[str]:
    return [] if text == "(no genres listed)" else text.split("|")
