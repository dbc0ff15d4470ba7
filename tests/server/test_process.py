"""A server as a process: imports, addresses, signals and shutdown."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from raw_connection import RawConnection

from reprise.errors import ConfigError
from reprise.server.http.auth import add_key
from reprise.server.process import ListenSettings
from reprise.server.store.records import User
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.server_process import ServerProcess, free_port


@pytest.fixture
def server(first_model: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(first_model, f"sqlite:///{tmp_path}/events.db", tmp_path / "log") as server:
        yield server.wait_ready()


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.output().splitlines()]


def wait_for_line(server: ServerProcess, event: str) -> dict[str, Any]:
    """Wait until the server logs an event; return its first line."""
    for _ in range(1000):
        for line in lines(server):
            if line["event"] == event:
                return line
        time.sleep(0.01)
    raise AssertionError(f"no line with event {event!r} in {server.output()}")


def event(place: int) -> dict[str, Any]:
    return {
        "user_id": "anna",
        "item_id": f"p{place}",
        "timestamp": 1_700_000_000 + place,
        "event_id": str(place),
    }


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_stops_the_server_without_losing_events(
    name: str, server: ServerProcess, tmp_path: Path
) -> None:
    events = [event(place) for place in range(20)]
    answer = server.request("POST", "/v1/events", {"events": events, "ack": "accepted"})
    server.process.send_signal(getattr(signal, name))
    assert server.process.wait(30) == 0
    assert answer.status == 200
    assert [line["event"] for line in lines(server)][:: len(lines(server)) - 1] == ["serving", "stopped"]
    assert "anna" not in server.output()
    store = SQLiteStore(tmp_path / "events.db")
    assert [one.item_id for one in store.events_since(User("default", "anna")).events] == [
        f"p{place}" for place in range(20)
    ]
    store.close()
    assert not (tmp_path / "events.db-wal").exists()  # SQLite deletes it when the database is closed cleanly


def test_sighup_reloads_the_model(first_model: Path, second_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "shop.model"
    model.symlink_to(first_model)
    with ServerProcess(model, f"sqlite:///{tmp_path}/events.db", tmp_path / "log") as server:
        before = server.wait_ready().request("GET", "/readyz").body["model_version"]
        model.unlink()
        model.symlink_to(second_model)
        os.kill(server.pid, signal.SIGHUP)
        after = wait_for_line(server, "model swapped")["model_version"]
        assert server.request("GET", "/readyz").body["model_version"] == after != before
        model.unlink()
        model.mkdir()
        os.kill(server.pid, signal.SIGHUP)
        assert "not a saved model" in wait_for_line(server, "model swap failed")["error"]
        assert "Traceback" not in server.output()  # an operator can correct it
        assert server.request("GET", "/readyz").body["model_version"] == after
        assert server.stop() == 0


def test_a_sighup_before_the_model_is_read_does_not_end_the_server(first_model: Path, tmp_path: Path) -> None:
    code = """
import os, signal
from reprise.cli.commands import serve
from reprise.cli.main import main
kind_of = serve.kind_of
serve.kind_of = lambda path: os.kill(os.getpid(), signal.SIGHUP) or kind_of(path)
main()
"""
    store = f"sqlite:///{tmp_path}/events.db"
    with ServerProcess(
        first_model, store, tmp_path / "log", program=[sys.executable, "-c", code, "serve"]
    ) as server:
        assert server.wait_ready().stop() == 0


def test_two_sighups_serve_the_model_that_was_written_last(
    first_model: Path, second_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "shop.model"
    model.symlink_to(first_model)
    with ServerProcess(model, f"sqlite:///{tmp_path}/events.db", tmp_path / "log") as server:
        before = server.wait_ready().request("GET", "/readyz").body["model_version"]
        os.kill(server.pid, signal.SIGHUP)
        model.unlink()
        model.symlink_to(second_model)
        os.kill(server.pid, signal.SIGHUP)
        for _ in range(1000):
            if server.request("GET", "/readyz").body["model_version"] != before:
                break
            time.sleep(0.01)
        else:
            raise AssertionError(f"the second model was not served: {server.output()}")
        assert server.stop() == 0


def test_a_server_process_does_not_import_torch(first_model: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from reprise.server import process
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.engine.requests import RecommendQuery, UserContext
from reprise.server.store.records import UserEvent
from reprise.server.engine.served_model import ServedModel
from reprise.server.store.opening import open_store
store = open_store("sqlite:///{tmp_path}/events.db")
engine = ServingEngine(ServedModel.open(Path({str(first_model)!r}), store, 10**6), store)
assert engine.recommend(RecommendQuery(UserContext("shop", events=[UserEvent("p1")]), explain=True)).items
print([name for name in ("torch", "lightning_fabric", "ibis", "duckdb", "onnx", "psycopg") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def serve_error(*arguments: str, directory: Path) -> str:
    """Run `reprise serve`, which must fail; return its error message."""
    done = subprocess.run(
        [sys.executable, "-m", "reprise", "serve", *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_a_public_address_needs_keys(first_model: Path, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.4", "shop.example"):
        message = serve_error(str(first_model), "--host", host, directory=tmp_path)
        expected = (
            f"host {host} can be reached from other machines, so the server needs API keys; make one with "
            "`reprise key NAME --file keys.toml` and pass --keys keys.toml, or listen on 127.0.0.1"
        )
        assert expected in message
    assert not (tmp_path / "events.db").exists()


def test_with_keys_a_server_may_listen_on_any_address(first_model: Path, tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys.toml", "front", "shop", ["recommend"])
    options = ["--host", "0.0.0.0", "--keys", str(tmp_path / "keys.toml"), "--quiet"]
    with ServerProcess(
        first_model, f"sqlite:///{tmp_path}/events.db", tmp_path / "log", options=options
    ) as server:
        server.wait_ready()
        assert server.request("POST", "/v1/recommend", {}).status == 401
        assert server.request("GET", "/v1/items").status == 401
        assert secret not in server.output()
        assert server.stop() == 0
        assert server.output() == ""  # --quiet logs no requests


def test_error_messages_of_serve_say_what_to_do(first_model: Path, tmp_path: Path) -> None:
    assert "nowhere is not a saved model" in serve_error("nowhere", directory=tmp_path)
    assert "unknown kind of store 'redis'" in serve_error(
        str(first_model), "--store", "redis://x", directory=tmp_path
    )
    assert "unable to open" in serve_error(
        str(first_model), "--store", "sqlite:///no/where.db", directory=tmp_path
    )
    assert "keys.toml is missing; make a key with" in serve_error(
        str(first_model), "--keys", "keys.toml", directory=tmp_path
    )


def test_two_processes_share_one_log(first_model: Path, server: ServerProcess, tmp_path: Path) -> None:
    with ServerProcess(first_model, f"sqlite:///{tmp_path}/events.db", tmp_path / "other.log") as other:
        other.wait_ready()
        query = {"user_id": "anna", "k": 5, "now": 1_700_009_999}
        for place in range(6):
            (server, other)[place % 2].request("POST", "/v1/events", {"events": [event(place)]})
            results = [each.request("POST", "/v1/recommend", query).body for each in (server, other)]
            assert results[0]["items"] == results[1]["items"]
            assert results[0]["events"] == place + 1
        assert server.request("DELETE", "/v1/users/anna").body["events_deleted"] == 6
        assert other.request("POST", "/v1/recommend", query).body["events"] == 0


def test_host_names_are_restricted_only_without_keys(tmp_path: Path) -> None:
    local = ListenSettings("127.0.0.2").authenticator().hosts
    assert local is not None and local.names == ("127.0.0.1", "127.0.0.2", "::1", "localhost")
    add_key(tmp_path / "keys.toml", "front", "shop", ["recommend"])
    with_keys = ListenSettings("127.0.0.1", key_file=tmp_path / "keys.toml")
    assert with_keys.authenticator().hosts is None  # requests may come through a proxy with any host name


def test_trusted_host_names_are_accepted_besides_those_of_this_machine(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.toml", "front", "shop", ["recommend"])
    for listen in (
        ListenSettings("LOCALHOST", trusted_hosts=["*.Shop.example"]),
        ListenSettings("0.0.0.0", key_file=tmp_path / "keys.toml", trusted_hosts=["*.shop.example"]),
        ListenSettings("::", key_file=tmp_path / "keys.toml", trusted_hosts=["*.shop.example"]),
    ):
        hosts = listen.authenticator().hosts
        assert hosts is not None and hosts.names == ("*.shop.example", "127.0.0.1", "::1", "localhost")


def test_invalid_names_origins_and_paths_are_reported() -> None:
    for listen, message in (
        (ListenSettings(trusted_hosts=["https://shop.example"]), "'https://shop.example' is not a host name"),
        (ListenSettings(allowed_origins=["*"]), "without API keys, origin \\* would let every web page"),
        (ListenSettings(root_path="/v1"), "begins like a route of the server"),
    ):
        with pytest.raises(ConfigError, match=message):
            listen.authenticator()


def test_ports_in_use_are_reported_with_their_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, free = taken.getsockname()[1], other.getsockname()[1]
        other.close()
        message = (
            rf"^cannot listen on port {port} of 127\.0\.0\.1 \(.+\); choose another with --port or --host$"
        )
        with pytest.raises(ConfigError, match=message):
            ListenSettings(port=port).open_sockets()
        with pytest.raises(ConfigError, match="choose another with --health-port"):
            ListenSettings(port=free, health_port=port).open_sockets()
    main, health = ListenSettings(port=free, health_port=port).open_sockets()
    assert health is not None
    main.close()
    health.close()


def test_options_of_serve_reach_the_server(first_model: Path, tmp_path: Path) -> None:
    health_port = free_port()
    options = [
        "--trusted-host",
        "*.shop.example",
        "--allow-origin",
        "https://shop.example",
        "--root-path",
        "/reco",
    ]
    options += ["--max-connections-per-address", "3", "--health-port", str(health_port)]
    store = f"sqlite:///{tmp_path}/events.db"
    with ServerProcess(first_model, store, tmp_path / "log", options=options) as server:
        server.wait_ready()
        head = b"GET /reco/healthz HTTP/1.1\r\nHost: a.shop.example\r\nOrigin: https://shop.example\r\n\r\n"
        with RawConnection(server.port) as silent, ExitStack() as stack:
            for port in (server.port, health_port, server.port, server.port):
                response = stack.enter_context(RawConnection(port, head)).response()
                assert response.status == 200
                assert response.headers["access-control-allow-origin"] == "https://shop.example"
            assert silent.is_closed()  # it gave way to the third connection after it
        assert server.stop() == 0


def test_few_open_files_limit_the_connections(first_model: Path, tmp_path: Path) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); from reprise.cli.main import main; main()"
    store = f"sqlite:///{tmp_path}/events.db"
    with (
        ServerProcess(
            first_model, store, tmp_path / "log", program=[sys.executable, "-c", code, "serve"]
        ) as server,
        ExitStack() as stack,
    ):
        server.wait_ready()
        assert wait_for_line(server, "few open files allowed")["max_connections"] == 32
        for _ in range(300):
            stack.enter_context(RawConnection(server.port))
        assert server.request("GET", "/healthz").status == 200


def test_an_unfinished_body_does_not_delay_the_shutdown(server: ServerProcess) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with RawConnection(server.port, head + b"Content-Length: 9\r\n\r\n{") as unfinished:
        with RawConnection(server.port, head + b"Content-Length: 14\r\n\r\n") as late:
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            late.send(b'{"events": []}')
            assert late.response().status == 422
        assert (unfinished.response().code, unfinished.is_closed()) == ("unavailable", True)
        assert server.process.wait(30) == 0
    assert "timeout" not in server.output()


def test_a_shutdown_ends_in_time_although_the_store_hangs(first_model: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal, threading, time
from pathlib import Path
from reprise.server import process
from reprise.server.settings import Settings
from reprise.server.store.sqlite import SQLiteStore
SQLiteStore.close = lambda store: time.sleep(60)
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
listen = process.ListenSettings(port={free_port()})
process.serve(Path({str(first_model)!r}), "sqlite:///{tmp_path}/events.db", listen, Settings(shutdown_timeout_s=1))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=40
    )
    assert done.returncode == 1
    assert "stopped before everything was finished" in done.stderr and "Traceback" not in done.stderr
