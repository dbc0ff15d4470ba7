"""A server as a process: what it loads, where it listens, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reprise.server.http.auth import add_key
from reprise.server.process import ListenSettings
from reprise.server.store.records import User
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.server_process import ServerProcess


@pytest.fixture
def server(first_model: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(first_model, f"sqlite:///{tmp_path}/events.db", tmp_path / "log") as server:
        yield server.wait_ready()


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.said().splitlines()]


def waited_for(server: ServerProcess, what: str) -> dict[str, Any]:
    """The first line about something."""
    for _ in range(1000):
        for line in lines(server):
            if line["what"] == what:
                return line
        time.sleep(0.01)
    raise AssertionError(f"no line about {what!r} in {server.said()}")


def event(place: int) -> dict[str, Any]:
    return {
        "user_id": "anna",
        "item_id": f"p{place}",
        "timestamp": 1_700_000_000 + place,
        "event_id": str(place),
    }


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_it_ends_when_it_is_asked_to_and_loses_nothing(
    name: str, server: ServerProcess, tmp_path: Path
) -> None:
    events = [event(place) for place in range(20)]
    answer = server.ask("POST", "/v1/events", {"events": events, "ack": "accepted"})
    server.process.send_signal(getattr(signal, name))
    assert server.process.wait(30) == 0
    assert answer.status == 200
    assert [line["what"] for line in lines(server)][:: len(lines(server)) - 1] == ["serving", "ended"]
    assert "anna" not in server.said()
    store = SQLiteStore(tmp_path / "events.db")
    assert [one.item_id for one in store.since(User("default", "anna")).events] == [
        f"p{place}" for place in range(20)
    ]
    store.close()
    assert not (tmp_path / "events.db-wal").exists()  # closed as it should be


def test_a_signal_has_the_model_read_again(first_model: Path, second_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "shop.model"
    model.symlink_to(first_model)
    with ServerProcess(model, f"sqlite:///{tmp_path}/events.db", tmp_path / "log") as server:
        before = server.wait_ready().ask("GET", "/readyz").body["model_version"]
        model.unlink()
        model.symlink_to(second_model)
        os.kill(server.pid, signal.SIGHUP)
        after = waited_for(server, "model served")["model_version"]
        assert server.ask("GET", "/readyz").body["model_version"] == after != before
        model.unlink()
        model.mkdir()
        os.kill(server.pid, signal.SIGHUP)
        assert "no saved model" in waited_for(server, "model refused")["error"]
        assert server.ask("GET", "/readyz").body["model_version"] == after
        assert server.stop() == 0


def test_the_process_of_a_server_holds_no_torch(first_model: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from reprise.server import run
from reprise.server.engine.serving_engine import Live
from reprise.server.engine.requests import RecommendQuery, UserContext
from reprise.server.store.records import UserEvent
from reprise.server.engine.served_model import Served
from reprise.server.store.opening import open_store
store = open_store("sqlite:///{tmp_path}/events.db")
live = Live(Served.open(Path({str(first_model)!r}), store, 10**6), store)
assert live.recommend(RecommendQuery(UserContext("shop", events=[UserEvent("p1")]), explain=True)).items
print([name for name in ("torch", "lightning_fabric", "ibis", "duckdb", "onnx", "psycopg") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def refused(*arguments: str, folder: Path) -> str:
    """What `serve` says when it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "reprise", "serve", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_beyond_this_machine_it_needs_keys(first_model: Path, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.4", "shop.example"):
        message = refused(str(first_model), "--host", host, folder=tmp_path)
        assert (
            f"on {host} others can reach the server, so it needs keys: make one with `reprise key" in message
        )
    assert not (tmp_path / "events.db").exists()


def test_with_keys_it_listens_anywhere(first_model: Path, tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys.toml", "front", "shop", ["recommend"])
    options = ["--host", "0.0.0.0", "--keys", str(tmp_path / "keys.toml"), "--quiet"]
    with ServerProcess(
        first_model, f"sqlite:///{tmp_path}/events.db", tmp_path / "log", options=options
    ) as server:
        server.wait_ready()
        assert server.ask("POST", "/v1/recommend", {}).status == 401
        assert server.ask("GET", "/v1/items").status == 401
        assert secret not in server.said()
        assert server.stop() == 0
        assert server.said() == ""  # quiet


def test_what_cannot_be_served_says_what_to_do(first_model: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert "run is a run; write its model with `reprise export run --out MODEL`" in refused(
        "run", folder=tmp_path
    )
    assert "nowhere is no saved model" in refused("nowhere", folder=tmp_path)
    assert "unknown kind of store 'redis'" in refused(
        str(first_model), "--store", "redis://x", folder=tmp_path
    )
    assert "unable to open" in refused(str(first_model), "--store", "sqlite:///no/where.db", folder=tmp_path)
    assert "keys.toml is missing; make a key with" in refused(
        str(first_model), "--keys", "keys.toml", folder=tmp_path
    )


def test_a_port_that_is_taken_says_so(first_model: Path, server: ServerProcess, tmp_path: Path) -> None:
    message = refused(str(first_model), "--port", str(server.port), folder=tmp_path)
    assert (
        f"port {server.port} of 127.0.0.1 cannot be had (" in message
        and "choose another with --port" in message
    )


def test_two_processes_share_one_log(first_model: Path, server: ServerProcess, tmp_path: Path) -> None:
    with ServerProcess(first_model, f"sqlite:///{tmp_path}/events.db", tmp_path / "other.log") as other:
        other.wait_ready()
        ask = {"user_id": "anna", "k": 5, "now": 1_700_009_999}
        for place in range(6):
            (server, other)[place % 2].ask("POST", "/v1/events", {"events": [event(place)]})
            answers = [each.ask("POST", "/v1/recommend", ask).body for each in (server, other)]
            assert answers[0]["items"] == answers[1]["items"]
            assert answers[0]["events"] == place + 1
        assert server.ask("DELETE", "/v1/users/anna").body["events_deleted"] == 6
        assert other.ask("POST", "/v1/recommend", ask).body["events"] == 0


def test_every_address_of_this_machine_may_be_called_by_its_name(first_model: Path, tmp_path: Path) -> None:
    place = ListenSettings("127.0.0.2")
    assert place.door().hosts is not None and "127.0.0.2" in place.door().hosts
    add_key(tmp_path / "keys.toml", "front", "shop", ["recommend"])
    assert (
        ListenSettings("127.0.0.1", keys=tmp_path / "keys.toml").door().hosts is None
    )  # a proxy has a name of its own
