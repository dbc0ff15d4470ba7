"""The command `reprise compact`."""

import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reprise.cli.main import app
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

DAY_MS = 86_400_000


@pytest.fixture
def address(tmp_path: Path) -> str:
    now_ms = time.time_ns() // 1_000_000
    with closing(SQLiteStore(tmp_path / "events.db")) as store:
        for tenant in ("shop", "rival"):
            for days in range(1, 11):
                store.append([(User(tenant, f"u{days % 3}"), UserEvent("p1", now_ms - days * DAY_MS - 1000))])
    return f"sqlite:///{tmp_path / 'events.db'}"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compact", *arguments])
    return result.exit_code, result.output


def count(address: str) -> int:
    with closing(SQLiteStore(address.removeprefix("sqlite:///"))) as store:
        return sum(
            len(store.events_since(User(tenant, f"u{number}")).events)
            for tenant in ("shop", "rival")
            for number in range(3)
        )


def test_events_older_than_an_age_are_deleted(address: str) -> None:
    code, output = run(address, "--older-than", "4d", "--dry-run")
    assert code == 0 and "14 events of 6 users before " in output and "would be deleted" in output
    assert count(address) == 20
    code, output = run(address, "--older-than", "4d", "--tenant", "shop")
    assert code == 0 and "7 events of 3 users of tenant shop before " in output
    assert count(address) == 13
    code, output = run(address, "--older-than", "96h", "--vacuum")
    assert code == 0 and "7 events of 3 users before " in output and "was rewritten" in output
    assert count(address) == 6
    assert "0 events of 0 users" in run(address, "--older-than", "4d")[1]


@pytest.mark.parametrize("age", ["90", "-1d", "0d", "", "3 months", "1e9w"])
def test_an_age_that_is_not_a_duration_is_an_error(address: str, age: str) -> None:
    code, output = run(address, f"--older-than={age}")
    assert code == 2 and "write a number and one of" in output
    assert count(address) == 20


def test_a_missing_store_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    code, output = run(f"sqlite:///{tmp_path / 'none.db'}", "--older-than", "1d")
    assert code == 2 and "no event log at" in output
    assert not (tmp_path / "none.db").exists()


def test_a_store_that_cannot_delete_old_events_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "append events_since delete_user verify_erasure deletions_since vacuum recent_users put_item items_since"
    lines = [f"    def {name}(self, *_): ..." for name in (*methods.split(), "check", "close")]
    (tmp_path / "shop_without_compact.py").write_text("\n".join(["class Plain:", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))
    code, output = run("shop_without_compact:Plain", "--older-than", "1d", "--trusted")
    assert code == 2 and "a store of the class Plain cannot delete old events; add the method" in output
