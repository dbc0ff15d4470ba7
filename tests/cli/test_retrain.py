"""The command `reprise retrain`: from the log of a server to a promoted version."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow.csv as pc
import pytest
from typer.testing import Result

from reprise.model_store import ModelStore
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

Run = Callable[..., Result]
Fails = Callable[..., str]


@pytest.fixture(scope="session")
def events(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The log of the shop, and ten more days of its users, in the store of a server."""
    table = pc.read_csv(shop / "log.csv").to_pydict()
    rows = list(zip(table["user_id"], table["item_id"], table["timestamp"], strict=True))
    last_s = max(time_s for *_, time_s in rows)
    more = [
        (user, (item + 1) % 40, last_s + 3600 * place) for place, (user, item, _) in enumerate(rows[-240:])
    ]
    path = tmp_path_factory.mktemp("store") / "events.db"
    with closing(SQLiteStore(path)) as store:
        store.append(
            [
                (User("default", user), UserEvent(str(item), time_s * 1000, event_id=str(place)))
                for place, (user, item, time_s) in enumerate(rows + more)
            ]
        )
        store.append([(User("rival", "u1"), UserEvent("900", last_s * 1000))])
    return f"sqlite:///{path}"


def test_a_new_version_is_trained_from_the_log_of_the_server_and_promoted(
    reprise: Run, shop: Path, events: str, tmp_path: Path
) -> None:
    store, out = tmp_path / "models", tmp_path / "run2"
    reprise("models", "publish", store, shop / "model", "--promote")
    words = [
        "retrain",
        "--from",
        shop / "run",
        "--events",
        events,
        "--out",
        out,
        "--gate",
        "ndcg@5",
        "--margin",
        "0.5",
    ]
    result = reprise(*words, "--store", store, "--json", "--threads", 1)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["gate"]["passed"] is True
    assert found["version"] == "2"
    current = ModelStore(store).current()
    assert current is not None and current.name == "2"
    assert current.facts["gate"]["metric"] == "ndcg@5"
    again = reprise(*words, "--threads", 1)
    assert again.exit_code == 0, again.output
    assert "items keep their vectors" in again.output


def test_a_worse_model_is_published_and_not_promoted(
    reprise: Run, shop: Path, events: str, tmp_path: Path
) -> None:
    store, out = tmp_path / "models", tmp_path / "run2"
    reprise("models", "publish", store, shop / "model", "--promote")
    words = ["retrain", "--from", shop / "run", "--events", events, "--out", out, "--margin", "1e-9"]
    result = reprise(*words, "--store", store, "--threads", 1)
    assert result.exit_code == 3, result.output
    assert "is published, but not promoted" in result.output
    current = ModelStore(store).current()
    assert current is not None and current.name == "1"


def test_mistakes_are_explained(fails: Fails, shop: Path, events: str, tmp_path: Path) -> None:
    base = ["retrain", "--from", shop / "run", "--out", tmp_path / "new"]
    assert "has no events of the tenant 'x'" in fails(
        *base, "--events", events, "--forget", events, "--tenant", "x"
    )
    assert "cannot be joined with other logs" in fails(
        *base, "--events", events, "--events", shop / "log.csv"
    )
    assert "is not a run" in fails(
        "retrain", "--from", shop / "data", "--events", events, "--out", tmp_path / "new"
    )
