"""Erased users from the server's store to the next model: `forget`, `prepare --forget`, `train --forget`, the card."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

Run = Callable[..., Result]
Fails = Callable[..., str]
TINY = ("--set", "model.size=16", "--set", "model.layers=1", "--set", "training.epochs=2", "--threads", "1")
"""The options of the run of the fixture `shop`."""
TIMES = ("created", "seconds", "events_per_s", "sha256")


@pytest.fixture
def address(tmp_path: Path) -> str:
    with closing(SQLiteStore(tmp_path / "events.db")) as store:
        for user in ("u1", "u2"):
            store.append([(User("default", user), UserEvent("3", 1_700_000_000_000))])
    return f"sqlite:///{tmp_path / 'events.db'}"


def with_users(log: Path, users: list[str], out: Path) -> Path:
    """Add users to a log: at its start, in the middle and at its end, with an item that no other user has."""
    header, *lines = log.read_text().splitlines()
    for place, user in enumerate(users * 8):
        number = place * len(lines) // 16
        lines.insert(number, f"{user},{900 if place % 3 else 3},{1_699_000_000 + place * 300_000}")
    out.write_text("\n".join([header, *lines]) + "\n")
    return out


def files_of(folder: Path) -> dict[str, Any]:
    """Return the content of each file; of JSON, the values without times and without the places of files."""
    return {
        str(file.relative_to(folder)): _content(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }


def _content(file: Path) -> Any:
    if file.suffix in (".md", ".log"):  # a card is made of the manifest; each line of a log has a time
        return None
    if file.suffix in (".json", ".jsonl"):
        texts = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        return [_without_times(json.loads(text)) for text in texts]
    data = file.read_bytes()
    if file.suffix != ".safetensors":
        return data
    # the first 8 bytes are the length of the header, whose metadata are in random order
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    texts = header.pop("__metadata__", {})
    if "progress" in texts:  # records of the epochs
        texts["progress"] = _without_times(json.loads(texts["progress"]))
    return header, texts, data[end:]


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_times(one)
            for name, one in value.items()
            if name not in (*TIMES, "dataset", "README.md")
        }
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def test_a_model_without_a_user_is_the_model_of_a_log_without_the_user(
    reprise: Run, shop: Path, address: str, tmp_path: Path
) -> None:
    """Bit for bit: the weights and every other file of the run and of the exported model, except for times."""
    assert reprise("forget", "gone", "lost", "--store", address).exit_code == 0
    log = with_users(shop / "log.csv", ["gone", "lost"], tmp_path / "log.csv")
    data, run, model = (tmp_path / name for name in ("data", "run", "model"))
    result = reprise("prepare", log, "--items", shop / "items.csv", "--out", data, "--forget", address)
    assert result.exit_code == 0, result.output
    assert "erased: users" in result.output
    assert reprise("train", data, "--out", run, *TINY, "--forget", address).exit_code == 0
    assert reprise("export", run, "--out", model).exit_code == 0
    found, expected = files_of(run), files_of(shop / "run")
    assert {"best.safetensors", "checkpoint.safetensors", "run.json"} <= found.keys() <= expected.keys()
    assert found == {name: expected[name] for name in found}
    found, expected = files_of(model), files_of(shop / "model")
    erased = found["manifest.json"][0]["facts"]["data"].pop("erased")
    assert found == expected
    assert erased == {"users": 2, "events": 16, "until": erased["until"]}
    card = (model / "README.md").read_text()
    assert f"- erased users, left out: users 2, events 16, until {erased['until']}" in card.splitlines()
    assert "erased" not in (shop / "model" / "README.md").read_text()


def test_a_dataset_with_erased_users_is_not_trained_on(
    reprise: Run, fails: Fails, shop: Path, address: str, tmp_path: Path
) -> None:
    assert reprise("forget", "u1", "u39", "unknown", "--store", address).exit_code == 0
    message = fails("train", shop / "data", "--out", tmp_path / "run", "--forget", address)
    assert message == (
        f"{shop / 'data'} has events of 2 erased users; prepare the log again with the same erased users (`reprise prepare LOG "
        "--forget ...`), and train on the result"
    )
    assert not (tmp_path / "run").exists()


def test_prepare_and_train_take_a_file_of_ids(reprise: Run, fails: Fails, shop: Path, tmp_path: Path) -> None:
    ids = tmp_path / "erased.txt"
    ids.write_text("u3\nu4\n")
    result = reprise("prepare", shop / "log.csv", "--dry-run", "--forget", ids)
    assert "2 erased users of the log are left out" in result.output
    message = fails("tune", shop / "data", "--out", tmp_path / "search", "--forget", ids)
    assert message.startswith(f"{shop / 'data'} has events of 2 erased users")
    assert fails("prepare", shop / "log.csv", "--dry-run", "--forget", tmp_path / "no.txt").startswith(
        f"cannot read the user ids in '{tmp_path / 'no.txt'}'"
    )


def test_the_queue_of_a_tenant_is_left_out(reprise: Run, fails: Fails, shop: Path, address: str) -> None:
    assert reprise("forget", "u1", "u2", "--store", address, "--tenant", "rival").exit_code == 0
    assert reprise("forget", "u3", "--store", address).exit_code == 0
    inspect = ("prepare", shop / "log.csv", "--dry-run", "--forget")
    assert "1 erased users" in reprise(*inspect, address).output
    assert "2 erased users" in reprise(*inspect, address, "--tenant", "rival").output
    assert fails("prepare", shop / "log.csv", "--dry-run", "--tenant", "rival").startswith(
        "--tenant rival names users of"
    )
    assert fails(*inspect, "sqlite:///no.db").startswith("no event log at no.db")


def test_the_queue_is_purged_by_date(reprise: Run, fails: Fails, shop: Path, address: str) -> None:
    assert reprise("forget", "u1", "u2", "--store", address).exit_code == 0
    old = reprise("forget", "--store", address, "--purge-before", "2020-01-01")
    assert (
        "0 users deleted before 2020-01-01 00:00 UTC removed from the queue of erased users; 2 left"
        in old.output
    )
    new = reprise("forget", "--store", address, "--purge-before", "2100-01-01")
    assert (
        "2 users deleted before 2100-01-01 00:00 UTC removed from the queue of erased users; 0 left"
        in new.output
    )
    assert fails("forget", "--store", address).startswith(
        "no user to delete; name the ids of users, or a date"
    )
    assert "is not a date" in fails("forget", "--store", address, "--purge-before", "yesterday")


def test_a_store_without_a_queue_is_named(
    reprise: Run, fails: Fails, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "append events_since verify_erasure deletions_since vacuum recent_users put_item delete_item items_since check"
    lines = [f"    def {name}(self, *_): return 'done'" for name in (*methods.split(), "close")]
    text = "\n".join(["class Plain:", *lines, "    def delete_user(self, *_): return 3"])
    (tmp_path / "shop_without_queue.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    store = ("shop_without_queue:Plain", "--trusted")
    result = reprise("forget", "anna", "--store", *store)
    assert "anna: 3 events deleted" in result.stdout
    assert (
        "a store of the class Plain has no queue of erased users; leave them out of the next" in result.stderr
    )
    for command in (
        ("forget", "anna", "--purge-before", "2026-01-01", "--store"),
        ("prepare", "x.csv", "--dry-run", "--forget"),
    ):
        log = [shop / "log.csv" if word == "x.csv" else word for word in command]
        message = fails(*log, *store)
        assert message.startswith(
            "a store of the class Plain has no queue of erased users; add the methods `erased_users`"
        )
    message = fails("prepare", shop / "log.csv", "--dry-run", "--forget", "shop_without_queue:Plain")
    assert "--trusted" in message
