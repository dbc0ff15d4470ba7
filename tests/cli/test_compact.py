"""The command `reprise compact`."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

DAY_MS = 86_400_000
Run = Callable[..., Result]
Fails = Callable[..., str]


@pytest.fixture
def address(tmp_path: Path) -> str:
    now_ms = time.time_ns() // 1_000_000
    with closing(SQLiteStore(tmp_path / "events.db")) as store:
        for tenant in ("shop", "rival"):
            for days in range(1, 11):
                store.append([(User(tenant, f"u{days % 3}"), UserEvent("p1", now_ms - days * DAY_MS - 1000))])
    return f"sqlite:///{tmp_path / 'events.db'}"


def count(address: str) -> int:
    with closing(SQLiteStore(address.removeprefix("sqlite:///"))) as store:
        return sum(
            len(store.events_since(User(tenant, f"u{number}")).events)
            for tenant in ("shop", "rival")
            for number in range(3)
        )


def test_events_older_than_an_age_are_deleted(reprise: Run, address: str) -> None:
    for age, options, messages, left in (
        ("4d", ["--dry-run"], ["14 events of 6 users before ", "would be deleted"], 20),
        ("4d", ["--tenant", "shop"], ["7 events of 3 users of tenant shop before "], 13),
        ("96h", ["--vacuum"], ["7 events of 3 users before ", "was rewritten"], 6),
        ("4d", [], ["0 events of 0 users before "], 6),
    ):
        result = reprise("compact", address, "--older-than", age, *options)
        assert result.exit_code == 0, result.output
        assert all(message in result.stdout for message in messages)
        assert count(address) == left


@pytest.mark.parametrize("age", ["90", "-1d", "0d", "", "3 months", "1e9w"])
def test_an_age_that_is_not_a_duration_is_an_error(fails: Fails, address: str, age: str) -> None:
    assert "write a number and one of" in fails("compact", address, f"--older-than={age}")
    assert count(address) == 20


def test_a_missing_store_is_an_error_and_is_not_created(fails: Fails, tmp_path: Path) -> None:
    message = fails("compact", f"sqlite:///{tmp_path / 'none.db'}", "--older-than", "1d")
    assert message.startswith(f"no event log at {tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()


def test_a_store_that_cannot_delete_old_events_is_an_error(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = (
        "append events_since delete_user verify_erasure deletions_since vacuum recent_users put_item delete_item "
        "items_since"
    )
    lines = [f"    def {name}(self, *_): ..." for name in (*methods.split(), "check", "close")]
    (tmp_path / "shop_without_compact.py").write_text("\n".join(["class Plain:", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))
    message = fails("compact", "shop_without_compact:Plain", "--older-than", "1d", "--trusted")
    assert message.startswith("a store of the class Plain cannot delete old events; add the method `compact`")
