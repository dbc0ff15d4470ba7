"""A log on disk, a public list of its items, and runs on it and on its neighbours."""

import csv
from pathlib import Path

import numpy as np

from reprise.data.dataset import SequenceDataset
from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.data.split import TimeSplit
from reprise.training.privacy_config import Privacy
from reprise.training.recipe import RunOptions, TrainingConfig

Row = tuple[str, str, int, str]
ITEMS = [f"i{number:02}" for number in range(20)]
UNIQUE = "u-unique"
"""A user who alone has the item `only` and the kind `gift`."""
LONGEST = "u-longest"
"""A user with the longest history."""
LATEST = "u-latest"
"""A user with the last events of the log, all of them later than those of others."""
FIRST = "u-first"
"""A user with the first events of the log, at times at which others do nothing."""
START_S, MINUTE_S = 1_700_000_000, 60
EXACT = RunOptions(accelerator="cpu", precision="32-true", threads=1)


def log_rows() -> list[Row]:
    generator = np.random.default_rng(0)
    rows: list[Row] = []

    def add(user: str, items: list[str], begin_s: int, kind: str = "view") -> None:
        rows.extend((user, item, begin_s + MINUTE_S * step, kind) for step, item in enumerate(items))

    for number in range(40):
        items = [ITEMS[place] for place in (generator.zipf(1.5, 12) - 1) % len(ITEMS)]
        add(f"u{number}", items, START_S + 3600 * number)
    add(UNIQUE, ["only", "i03", "only", "i04"], START_S + 3600, "gift")
    add(LONGEST, [ITEMS[place] for place in generator.integers(len(ITEMS), size=300)], START_S + 7200)
    add(LATEST, ["i00", "i05", "i00", "i07", "i01"], START_S + 3600 * 44)
    add(FIRST, ["i02", "i03", "i01"], START_S - 900_000)
    return rows


def without(*users: str) -> list[Row]:
    return [row for row in log_rows() if row[0] not in users]


def prepared(rows: list[Row], folder: Path) -> SequenceDataset:
    """Prepare a log with a split by time, whose times depend on the log."""
    folder.mkdir(parents=True)
    with (folder / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "timestamp", "event_type"), *rows])
    return prepare(read_events(folder / "log.csv"), folder / "data", split=TimeSplit.last("12h", "12h"))


def catalogue(folder: Path) -> Path:
    """Write the public list of items, in an order of its own, with an item that no user has."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "catalogue.csv"
    lines = [f"{item},Title of {item}" for item in ["never", "only", *reversed(ITEMS)]]
    file.write_text("\n".join(["item_id,title", *lines]))
    return file


def private(catalogue_file: Path | None = None, **fields: object) -> TrainingConfig:
    values: dict[str, object] = {"epsilon": 4, "users": 100, "keep": 12, "release": 1.0}
    if catalogue_file is not None:
        values["catalogue"] = str(catalogue_file)
    return TrainingConfig(privacy=Privacy(**{**values, **fields}))  # type: ignore[arg-type]
