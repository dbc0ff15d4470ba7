"""The model store: versions, the current one, rollbacks, removal, and calls that end in between."""

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reprise.atomic_files import PARTIAL
from reprise.errors import ArtefactError, ConfigError
from reprise.model_store import ModelStore
from reprise.recommender import Recommender, make_key_pair

NOW = timedelta(0)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def current(store: ModelStore) -> str | None:
    found = store.current()
    return None if found is None else found.name


def test_a_published_version_is_a_model_and_becomes_current_when_it_is_promoted(
    store: ModelStore, first: Path, second: Path
) -> None:
    assert (store.exists, store.versions(), store.current()) == (False, [], None)
    one = store.publish(first, "the first", facts={"ndcg@20": 0.25})
    two = store.publish(second, promote=True)
    assert [version.name for version in store.versions()] == ["1", "2"]
    assert current(store) == "2"
    assert (one.note, one.facts, store.version(1)) == ("the first", {"ndcg@20": 0.25}, one)
    assert one.bytes == sum(file.stat().st_size for file in first.iterdir())
    for version, source in ((one, first), (two, second)):
        version.check()
        answers = [Recommender.load(path).recommend(["p3", "p5"], k=4) for path in (version.model, source)]
        assert answers[0] == answers[1]


def test_rollbacks_go_back_one_version_each(store: ModelStore, first: Path) -> None:
    for _ in range(4):
        store.publish(first)
    for name in ("1", "3", "2", "4", "4"):
        store.promote(name)
    assert store.earlier() == ["2", "3", "1"]
    assert [store.rollback().name for _ in range(3)] == ["2", "3", "1"]
    with pytest.raises(ConfigError, match=r"no earlier current version.*reprise models promote"):
        store.rollback()
    store.promote(4)
    assert (current(store), store.earlier()) == ("4", ["1"])


def test_a_rollback_passes_over_removed_and_damaged_versions(store: ModelStore, first: Path) -> None:
    for name in ("1", "2", "3", "4"):
        store.publish(first)
        store.promote(name)
    (store.version(3).model / "manifest.json").write_text("{}")
    shutil.rmtree(store.version(2).directory)
    assert store.rollback().name == "1"


def test_a_damaged_version_is_refused_and_the_current_one_stays(store: ModelStore, first: Path) -> None:
    store.publish(first, promote=True)
    changed = store.publish(first)
    (changed.model / "manifest.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"version 2 .* was changed after its publication; use another"):
        store.promote(2)
    (changed.model / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match=r"version 2 .* is damaged \(No such file"):
        store.promote("2")
    changed.directory.joinpath("version.json").write_text("[1]")
    with pytest.raises(ArtefactError, match=r"version\.json is not the description of a version"):
        store.version(2)
    assert [version.name for version in store.versions()] == ["1"]
    assert current(store) == "1"


def test_a_damaged_model_is_not_published(store: ModelStore, first: Path, tmp_path: Path) -> None:
    store.publish(first, promote=True)
    broken = tmp_path / "broken.model"
    shutil.copytree(first, broken)
    vectors = broken / "vectors.safetensors"
    vectors.write_bytes(vectors.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ArtefactError):
        store.publish(broken)
    with pytest.raises(ArtefactError, match="is not a saved model"):
        store.publish(tmp_path)
    assert [path.name for path in (store.path / "versions").iterdir()] == ["1"]


def test_a_signature_is_checked_before_a_model_is_published(
    store: ModelStore, first: Path, tmp_path: Path
) -> None:
    public = make_key_pair(tmp_path / "key.pem")
    with pytest.raises(ArtefactError, match="sign"):
        store.publish(first, verify=public)
    signed = tmp_path / "signed.model"
    Recommender.load(first).save(signed, sign=tmp_path / "key.pem")
    assert store.publish(signed, verify=public).name == "1"


@pytest.mark.parametrize("step", ["copytree", "_sync", "rename", "manifest_checksum"])
def test_a_publication_that_ends_early_leaves_the_store_as_it_was(
    step: str, store: ModelStore, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash leaves hidden files at most; the next `gc` removes them."""
    store.publish(first, promote=True)

    def crash(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process cleans nothing up
    target = {"copytree": shutil, "rename": Path}.get(step, "reprise.model_store.model_store")
    monkeypatch.setattr(*((target, step) if not isinstance(target, str) else (f"{target}.{step}",)), crash)
    with pytest.raises(KeyboardInterrupt):
        store.publish(first, promote=True)
    monkeypatch.undo()
    assert ([version.name for version in store.versions()], current(store)) == (["1"], "1")
    assert len(list((store.path / "versions").glob(f".*{PARTIAL}"))) == 1
    store.gc()
    assert [path.name for path in (store.path / "versions").iterdir()] == ["1"]
    assert store.publish(first).name in ("2", "3")


def test_a_full_disk_leaves_the_current_version(
    store: ModelStore, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(first, promote=True)
    store.publish(first)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtefactError, match="free some space and the current version is unchanged"):
        store.promote(2)
    with pytest.raises(ArtefactError, match="free some space and the store is unchanged"):
        store.publish(first)
    monkeypatch.undo()
    assert (current(store), [version.name for version in store.versions()]) == ("1", ["1", "2"])


def test_gc_keeps_the_current_version_the_one_before_it_and_the_newest(
    store: ModelStore, first: Path
) -> None:
    for _ in range(6):
        store.publish(first)
    store.promote(1)
    store.promote(2)
    assert store.gc(keep=2) == []  # all are younger than an hour
    listed = [version.name for version in store.gc(keep=2, min_age=NOW, dry_run=True)]
    assert (listed, len(store.versions())) == (["3", "4"], 6)
    assert [version.name for version in store.gc(keep=2, min_age=NOW)] == listed
    assert [version.name for version in store.versions()] == ["1", "2", "5", "6"]
    with pytest.raises(ConfigError, match="keep must be at least 1, got 0"):
        store.gc(keep=0)


def test_a_number_is_never_used_twice(store: ModelStore, first: Path) -> None:
    store.publish(first, promote=True)
    store.publish(first)
    shutil.rmtree(store.version(2).directory)
    assert store.publish(first).name == "3"


def test_a_reader_needs_no_write_access_and_no_lock(store: ModelStore, first: Path, tmp_path: Path) -> None:
    store.publish(first, promote=True)
    before = sorted(tmp_path.rglob("*"))
    reader = ModelStore(store.path)
    with store._changing():
        assert (current(reader), len(reader.versions()), reader.earlier()) == ("1", 1, [])
        reader.version(1).check()
    assert sorted(tmp_path.rglob("*")) == before


def test_several_processes_publish_into_one_store(store: ModelStore, first: Path) -> None:
    script = """
import sys
from reprise.model_store import ModelStore
for _ in range(3):
    ModelStore(sys.argv[1]).publish(sys.argv[2], promote=True)
"""
    command = [sys.executable, "-c", script, str(store.path), str(first)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert [version.name for version in store.versions()] == list("123456")
    assert (current(store), store.earlier()) == ("6", list("54321"))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"current": "../1", "earlier": []}', '{"current": 1, "earlier": []}']
)
def test_a_damaged_file_of_the_current_version_is_named(content: str, store: ModelStore, first: Path) -> None:
    store.publish(first, promote=True)
    (store.path / "current.json").write_text(content)
    with pytest.raises(ArtefactError, match=r"current\.json is damaged .* delete it and choose a version"):
        store.current()
    (store.path / "current.json").unlink()
    assert (store.current(), store.promote(1).name) == (None, "1")


def test_other_directories_are_not_stores(first: Path, tmp_path: Path, store: ModelStore) -> None:
    with pytest.raises(ConfigError, match=r"is not a model store \(it is a saved model\)"):
        ModelStore(first)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"is not a model store \(it is a file\)"):
        ModelStore(tmp_path / "file")
    with pytest.raises(ConfigError, match=r"has no version '9'; it has no versions"):
        store.version(9)
    store.publish(first)
    with pytest.raises(ConfigError, match=r"has no version '9'; it has 1"):
        store.promote(9)
    assert json.loads((store.path / "store.json").read_text())["next"] == 2
