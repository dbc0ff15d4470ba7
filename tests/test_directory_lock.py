"""The lock of a directory: one owner, released by the operating system, and no litter."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reprise.directory_lock import LOCK, locked_directory
from reprise.errors import ArtefactError, ConfigError

HOLDER = (
    "import sys, time\nfrom pathlib import Path\nfrom reprise.directory_lock import locked_directory\n"
    "with locked_directory(Path(sys.argv[1]), 'trains'):\n    print('locked', flush=True)\n    time.sleep(60)"
)


def test_a_second_owner_is_refused_with_the_process_id_of_the_first_until_that_is_killed(
    tmp_path: Path,
) -> None:
    run = tmp_path / "my run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        message = f"another process trains in {run} (process id {holder.pid}); wait until it ends, or"
        with pytest.raises(ConfigError) as caught, locked_directory(run, "trains"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert str(caught.value).startswith(message)
    assert (run / LOCK).exists()
    with locked_directory(run, "trains"):
        pass
    assert not (run / LOCK).exists()


def test_two_owners_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    with locked_directory(tmp_path, "trains"):
        with pytest.raises(ConfigError, match="another process trains"), locked_directory(tmp_path, "trains"):
            pass
        assert (tmp_path / LOCK).exists()


def test_an_unused_new_directory_is_removed_with_its_new_parents(tmp_path: Path) -> None:
    with locked_directory(tmp_path / "a" / "b", "trains"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_with_content_stays(tmp_path: Path) -> None:
    with locked_directory(tmp_path / "a", "trains"):
        (tmp_path / "a" / "file").touch()
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["file"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ArtefactError, match=f"cannot write {path} "), locked_directory(path, "trains"):
            pass
