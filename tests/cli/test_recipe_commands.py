"""The commands in recipes of published logs, on small files in the format in which the logs are published."""

import json
import shlex
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from reprise.data.dataset import SequenceDataset

RECIPES = Path(__file__).parent.parent.parent / "recipes"
Run = Callable[..., Result]
Prepared = Callable[[str], SequenceDataset]


@pytest.fixture
def prepared(reprise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Run the commands of a recipe up to an epoch of training in a folder with the published files."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RECIPES, "recipes")

    def run(name: str) -> SequenceDataset:
        comment = [line.removeprefix("# ") for line in (RECIPES / f"{name}.toml").read_text().splitlines()]
        commands = [shlex.split(line) for line in comment if line.startswith(("python ", "reprise "))]
        for python, option, code in (command for command in commands if command[0] == "python"):
            assert (python, option) == ("python", "-c")
            exec(code)
        prepare, train, evaluate = (command[1:] for command in commands if command[0] == "reprise")
        small = ["model.size=8", "training.epochs=1", "training.events_per_batch=256"]
        if "negatives" in (RECIPES / f"{name}.toml").read_text():
            small.append("training.loss.negatives.count=16")
        for command in (prepare, [*train, *chain.from_iterable(("--set", text) for text in small)], evaluate):
            result = reprise(*command)
            assert result.exit_code == 0, result.output
        return SequenceDataset.open(Path(prepare[prepare.index("--out") + 1]))

    return run


def items_of(data: SequenceDataset, row: int) -> list[object]:
    """Return the published ids of the items of a sequence."""
    ids = data.items.ids
    return [ids[index - 1] for index in data.item[data.offset[row] : data.offset[row + 1]]]


def test_movielens_20m_is_read_as_published(prepared: Prepared) -> None:
    # as published: sorted by user and movie, while the ratings were made in another order
    lines = [
        f"{user},{movie},{(movie % 10 + 1) / 2},{1_112_486_027 + 60 * ((movie * 7) % 31)}\n"
        for user in range(1, 31)
        for movie in range(1, 31)
    ]
    Path("ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(lines))
    data = prepared("ml-20m")
    assert [data.part_events(part) for part in ("train", "valid", "test")] == [30 * 28, 30, 30]
    assert items_of(data, 0) == sorted(range(1, 31), key=lambda movie: (movie * 7) % 31)
    assert np.nanmin(data.value) == 0.5


def test_video_games_keep_the_order_of_the_file(prepared: Prepared) -> None:
    lines = [f"{user} {(user * 3 + step * 5) % 17 + 1}\n" for user in range(1, 41) for step in range(6)]
    Path("Video.txt").write_text("".join(lines))
    data = prepared("amazon-video-games")
    assert len(data) == 40
    assert items_of(data, 0) == [(3 + step * 5) % 17 + 1 for step in range(6)]
    assert data.part_events("test") == 40


def test_yambda_keeps_heard_tracks_outside_the_gaps(prepared: Prepared) -> None:
    day = 86_400
    test = 26_000_000 - day
    heard = [test - 5 * day, test - 4 * day, test - 3 * day, test - day, test, test + 3_600]
    gaps = [test - day - 1_800 - 1_800, test - day - 1_800 - 5, test - 1_800, test - 5]
    rows = sorted(
        (user, time, (user + place) % 31, 30 if time == skipped else 95)
        for user in range(30)
        for skipped in [test - 2 * day]
        for place, time in enumerate([*heard, *gaps, skipped])
    )
    uid, timestamp, item, ratio = zip(*rows, strict=True)
    table = pa.table(
        {
            "uid": pa.array(uid, pa.uint32()),
            "timestamp": pa.array(timestamp, pa.uint32()),
            "item_id": pa.array(item, pa.uint32()),
            "is_organic": pa.array([1] * len(uid), pa.uint8()),
            "played_ratio_pct": pa.array(ratio, pa.uint16()),
            "track_length_seconds": pa.array([180] * len(uid), pa.uint32()),
        }
    )
    pq.write_table(table, "listens.parquet")
    data = prepared("yambda-50m")
    assert [data.part_events(part) for part in ("train", "valid", "test")] == [30 * 3, 30, 30 * 2]
    assert (data.time_ms[data.offset[0] : data.offset[1]] // 1_000).tolist() == heard


def test_otto_sessions_become_clicks_with_their_split(prepared: Prepared) -> None:
    def session(number: int, first_ms: int) -> str:
        events = [
            {"aid": (number + step) % 31, "ts": first_ms + 60_000 * step, "type": "clicks"}
            for step in range(5)
        ]
        events.insert(2, {"aid": 99, "ts": first_ms + 90_000, "type": "carts"})
        return json.dumps({"session": number, "events": events}) + "\n"

    start_ms, week_ms = 1_659_304_800_025, 604_800_000
    train = [session(number, start_ms + number * 1_000) for number in range(60)]
    test = [session(number, start_ms + 4 * week_ms + number * 1_000) for number in range(60, 80)]
    Path("otto-recsys-train.jsonl").write_text("".join(train))
    Path("otto-recsys-test.jsonl").write_text("".join(test))
    data = prepared("otto-clicks")
    # a tenth of the training sessions is the validation part
    assert [data.part_events(part) for part in ("train", "valid", "test")] == [54 * 5, 6 * 5, 20 * 5]
    assert 99 not in data.items.ids
    assert items_of(data, 60) == [(60 + step) % 31 for step in range(5)]


def test_rees46_sessions_end_after_an_hour_and_have_no_repeats(prepared: Prepared) -> None:
    header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"

    def line(second: float, kind: str, item: int, user: int) -> str:
        at = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return (
            f"{at},{kind},{item},2053013552326770905,electronics.smartphone,,35.79,{user},{user:08x}-8bb3\n"
        )

    days = [datetime(2019, 10, 31, 9, tzinfo=UTC), datetime(2019, 11, 1, 9, tzinfo=UTC)]
    days += [datetime(2019, 11, 29, 9, tzinfo=UTC), datetime(2019, 11, 30, 9, tzinfo=UTC)]
    files: dict[str, list[str]] = {"2019-Oct.csv": [header], "2019-Nov.csv": [header]}
    # an item twice, its purchase, the item after it, and after more than an hour the two again
    visit = [(0, "view", 0), (60, "view", 0), (70, "purchase", 0), (120, "view", 1)]
    visit += [(3_721, "view", 1), (3_800, "view", 0)]
    for day, user in ((day, user) for day in days for user in range(10, 40)):
        name = f"{day:%Y-%b}.csv"
        files[name] += [
            line(day.timestamp() + second, kind, user + place, user) for second, kind, place in visit
        ]
    for name, lines in files.items():
        Path(name).write_text("".join(lines))
    data = prepared("rees46-sessions")
    assert len(data) == 4 * 30 * 2
    assert [items_of(data, row) for row in (0, 1)] == [[10, 11], [11, 10]]
    assert [data.part_events(part) for part in ("train", "valid", "test")] == [2 * 30 * 4, 30 * 4, 30 * 4]
