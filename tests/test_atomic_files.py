"""Atomic replacement of files: links, devices, and messages for places that cannot be written."""

import errno
import os
from pathlib import Path

import pytest

from reprise.atomic_files import temporary_directory, write_text, writing
from reprise.errors import ArtefactError


def test_a_file_is_replaced_and_nothing_else_remains(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    write_text(tmp_path / "file", "über\n")
    assert (tmp_path / "file").read_bytes() == "über\n".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_a_device_is_written_directly() -> None:
    write_text(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_a_full_device_is_named_with_the_remedy() -> None:
    message = r"cannot write /dev/full \(No space left on device\); free some space and run again$"
    with pytest.raises(ArtefactError, match=message):
        write_text(Path("/dev/full"), "text", "run again")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "cannot write x (Read-only file system); make it writable, or choose another place"),
        (errno.ENOENT, "cannot write x (No such file or directory); create the directory first"),
        (errno.EIO, "cannot write x (Input/output error)"),
    ],
)
def test_an_error_names_path_reason_and_remedy(number: int, message: str) -> None:
    with pytest.raises(ArtefactError) as caught, writing(Path("x")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == message


def test_a_partial_file_is_removed_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtefactError):
        write_text(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


def test_without_a_writable_temporary_directory_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with (
        pytest.raises(ArtefactError, match="set TMPDIR to a directory that is writable"),
        temporary_directory(),
    ):
        pass


def test_two_writers_of_a_file_do_not_share_a_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one name, the first writer would publish what the second has written so far."""
    file, fsync = tmp_path / "file", os.fsync

    def second_writer(number: int) -> None:
        monkeypatch.setattr("os.fsync", fsync)
        write_text(file, "second")
        assert file.read_text() == "second"
        fsync(number)

    monkeypatch.setattr("os.fsync", second_writer)
    write_text(file, "first")
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_of_the_maximum_length_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 255), "text")
    assert (tmp_path / ("n" * 255)).read_text() == "text"
