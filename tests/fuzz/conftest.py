"""The fuzzers: properties that are checked with random examples, for a few examples or for a given time.

`make test` checks a few examples of each property. `make fuzz SECONDS=3600` divides an hour among the properties. Each round
has its own seed. A failure shows an example and the seed that repeats it; the repetition shows the smallest example.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from rounds import SECONDS, TINY, Fuzz, check_in_rounds, run_command


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """Return a function that checks a property, wrapped by `hypothesis.given`, for its share of the time."""
    properties = sum("fuzz" in item.path.parts for item in request.session.items)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share_s = SECONDS * workers / max(1, properties)

    def run(property_: Callable[[], None]) -> None:
        check_in_rounds(property_, request.node.name, share_s)

    return run


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with log.csv, items.csv, data/, run/ and model/."""
    folder = tmp_path_factory.mktemp("a shop")
    generator = random.Random(0)
    rows = ["user_id,item_id,timestamp,event_type,value"]
    for user in range(30):
        for place in range(8):
            kind, item = generator.choice(["view", "buy"]), generator.randrange(30)
            rows.append(f"u{user},{item},{1_700_000_000 + user * 977 + place * 21_600},{kind},{place}.5")
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    titles = ["item_id,title,price", *(f"{item},Mug {item},{item}.25" for item in range(30))]
    (folder / "items.csv").write_text("\n".join(titles) + "\n")
    for arguments in (
        ["prepare", f"{folder}/log.csv", "--items", f"{folder}/items.csv", "--out", f"{folder}/data",
         "--split", "leave-one-out"],
        ["train", f"{folder}/data", "--out", f"{folder}/run", *TINY],
        ["export", f"{folder}/run", "--out", f"{folder}/model"],
    ):  # fmt: skip
        result = run_command(arguments)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
