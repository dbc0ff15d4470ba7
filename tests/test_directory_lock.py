"""The lock of a directory: one owner, released by the operating system, and no litter."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reprise.directory_lock import LOCK, locked_directory, locked_output
from reprise.errors import ArtefactError, ConfigError

HOLDER = (
    "import sys, time\nfrom pathlib import Path\nfrom reprise.directory_lock import locked_directory\n"
    "with locked_directory(Path(sys.argv[1]), 'trains in'):\n    print('locked', flush=True)\n    time.sleep(60)"
)


def test_a_second_owner_is_refused_with_the_process_id_of_the_first_until_that_is_killed(
    tmp_path: Path,
) -> None:
    run = tmp_path / "my run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        message = f"another process trains in {run} (process id {holder.pid}); wait until it ends, or"
        with pytest.raises(ConfigError) as caught, locked_directory(run, "trains in"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert str(caught.value).startswith(message)
    assert (run / LOCK).exists()
    with locked_directory(run, "trains in"):
        pass
    assert not (run / LOCK).exists()


def test_two_owners_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    with locked_directory(tmp_path, "trains in"):
        with (
            pytest.raises(ConfigError, match="another process trains"),
            locked_directory(tmp_path, "trains in"),
        ):
            pass
        assert (tmp_path / LOCK).exists()


def test_an_unused_new_directory_is_removed_with_its_new_parents(tmp_path: Path) -> None:
    with locked_directory(tmp_path / "a" / "b", "trains in"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_with_content_stays(tmp_path: Path) -> None:
    with locked_directory(tmp_path / "a", "trains in"):
        (tmp_path / "a" / "file").touch()
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["file"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ArtefactError, match=f"cannot write {path} "), locked_directory(path, "trains in"):
            pass


def test_an_output_is_locked_next_to_it_and_by_any_of_its_names(tmp_path: Path) -> None:
    output, link = tmp_path / "answers.csv", tmp_path / "link.csv"
    link.symlink_to(output)
    message = f"another process writes {link} (process id {os.getpid()}); wait until it ends, or choose another --out"
    with locked_output(output, "writes"):
        assert {path.name for path in tmp_path.iterdir()} == {"link.csv", f".answers.csv{LOCK}"}
        with pytest.raises(ConfigError) as caught, locked_output(link, "writes"):
            pass
        with locked_output(tmp_path / "others.csv", "writes"):
            pass
    assert str(caught.value) == message
    assert {path.name for path in tmp_path.iterdir()} == {"link.csv"}


def test_an_output_in_a_missing_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(ArtefactError) as caught, locked_output(path, "writes"):
        pass
    assert str(caught.value) == f"cannot write {path} (No such file or directory); create the directory first"
