"""Each step runs once, and the result appears only when it is complete."""

from pathlib import Path

import pytest

from reprise.data.io.duckdb_engine import BusyError
from reprise.data.io.engine import EngineChoice
from reprise.data.preparing.workspace import Workspace, disk_errors, remove_leftovers
from reprise.errors import DataError

ENGINE = EngineChoice(memory_limit="100MB")


def test_the_same_call_keeps_finished_steps(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "out", "key", ENGINE)
    assert work.step("count", lambda: {"events": 3}) == {"events": 3}
    work.engine.close()
    again = Workspace(tmp_path / "out", "key", ENGINE)
    assert again.step("count", lambda: {"events": 99}) == {"events": 3}


def test_another_call_starts_again(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "out", "key", ENGINE)
    work.step("count", lambda: {"events": 3})
    work.engine.close()
    assert Workspace(tmp_path / "out", "another", ENGINE).step("count", lambda: {"events": 99}) == {
        "events": 99
    }


def test_a_failed_step_is_repeated(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "out", "key", ENGINE)
    with pytest.raises(ZeroDivisionError):
        work.step("count", lambda: {"events": 1 // 0})
    assert work.step("count", lambda: {"events": 3}) == {"events": 3}


def test_a_damaged_database_is_replaced(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "out", "key", ENGINE)
    work.step("count", lambda: {"events": 3})
    work.engine.close()
    (tmp_path / "out.partial" / "work.duckdb").write_bytes(b"not a database")
    assert Workspace(tmp_path / "out", "key", ENGINE).step("count", lambda: {"events": 99}) == {"events": 99}


def test_publish_replaces_an_older_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("")
    work = Workspace(out, "key", ENGINE)
    work.result.mkdir()
    (work.result / "new").write_text("")
    work.publish(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["new"]


def test_leftovers_of_a_kill_after_publishing_are_removed(tmp_path: Path) -> None:
    Workspace(tmp_path / "out", "key", ENGINE).engine.close()
    remove_leftovers(tmp_path / "out")
    remove_leftovers(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_with_the_free_space(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught, disk_errors(tmp_path / "missing"):
        raise OSError(28, "No space left on device")
    assert str(caught.value).startswith("the disk is full: [Errno 28] No space left on device; ")
    assert f"GB are free at {tmp_path}. Free some space" in str(caught.value)


def test_other_errors_are_not_changed(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_errors(tmp_path):
        raise PermissionError(13, "Permission denied")
    with pytest.raises(BusyError), disk_errors(tmp_path):
        raise BusyError("busy")
