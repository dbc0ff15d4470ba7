"""Faults injected into a running server: disks that fail, files that disappear, and a shutdown under load."""

import errno
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from reprise.server.http.auth import DEFAULT_TENANT
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.server_process import ServerProcess

NO_LIMIT = resource.RLIM_INFINITY
PAGE = 4096
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int fault(const char *wanted, int fd) {
    char line[64] = "", link[64], path[4096] = "";
    FILE *file = fopen(getenv("FAULT"), "r");
    if (!file) return 0;
    if (!fgets(line, sizeof line, file)) line[0] = 0;
    fclose(file);
    if (strncmp(line, wanted, strlen(wanted))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) < 0 || !strstr(path, "events.db")) return 0;
    errno = atoi(line + strlen(wanted));
    return 1;
}
int fsync(int fd) {
    return fault("sync ", fd) ? -1 : ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    return fault("sync ", fd) ? -1 : ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
ssize_t write(int fd, const void *data, size_t size) {
    return fault("write ", fd) ? -1 : ((ssize_t (*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write"))(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
    return fault("write ", fd) ? -1
        : ((ssize_t (*)(int, const void *, size_t, off_t)) dlsym(RTLD_NEXT, "pwrite"))(fd, data, size, place);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    return fault("write ", fd) ? -1
        : ((ssize_t (*)(int, const void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pwrite64"))(fd, data, size, place);
}
"""
Start = Callable[..., ServerProcess]


@pytest.fixture
def start(second_model: Path, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts servers with one log; they are killed after the test."""
    servers: list[ServerProcess] = []

    def started(**environment: str) -> ServerProcess:
        log = tmp_path / f"server{len(servers)}.log"
        store = f"sqlite:///{tmp_path / 'events.db'}"
        servers.append(ServerProcess(second_model, store, log, options=["--quiet"], environment=environment))
        return servers[-1].wait_ready()

    yield started
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared library, for LD_PRELOAD, in which calls on the log fail with the error of the file $FAULT.

    The file holds `sync` or `write` and the number of an error; without the file no call fails.
    """
    directory = tmp_path_factory.mktemp("shim")
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "this test needs a C compiler; on Debian install the package gcc"
    (directory / "shim.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", directory / "shim.so", directory / "shim.c", "-ldl"]
    subprocess.run(command, check=True)
    return directory / "shim.so"


def batch(user: str, first: int, count: int = 1, size: int = 0, **more: Any) -> dict[str, Any]:
    """Return a request body: events of one user, with event ids and with item ids made longer by `size` characters."""
    return {
        "events": [
            {"user_id": user, "item_id": f"p{5 + number % 20}" + size * "x", "event_id": f"{user}-{number}"}
            for number in range(first, first + count)
        ],
        **more,
    }


def stored(directory: Path, user: str) -> list[UserEvent]:
    store = SQLiteStore(directory / "events.db")
    events = store.events_since(User(DEFAULT_TENANT, user)).events
    store.close()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events


def check_event_count(server: ServerProcess, user: str) -> list[str]:
    """Check that a recommendation counts all stored events of a user; return their event ids."""
    stored = server.request("GET", f"/v1/users/{user}?limit=10000").body
    reply = server.request("POST", "/v1/recommend", {"user_id": user})
    assert reply.status == 200
    assert reply.body["events"] + reply.body["skipped"] == len(stored["events"])
    assert len(stored["events"]) == stored["state"]["last_seq"]
    return [event["event_id"] for event in stored["events"]]


def check_unavailable(server: ServerProcess) -> None:
    """Check that writes and readiness checks get a 503, while recommendations still work."""
    refused = server.request("POST", "/v1/events", batch("anna", 9000))
    assert (refused.status, refused.body["error"]["code"]) == (503, "store_unavailable")
    assert refused.headers["retry-after"] == "1"
    ready = server.request("GET", "/readyz")
    assert (ready.status, ready.body["error"]["code"]) == (503, "store_unavailable")
    assert server.request("GET", "/healthz").status == 200
    assert server.request("POST", "/v1/recommend", {"user_id": "anna"}).status == 200


def lines(server: ServerProcess, event: str) -> list[dict[str, Any]]:
    """Return the log lines of an event."""
    return [line for line in map(json.loads, server.output().splitlines()) if line["event"] == event]


def check_recovery(server: ServerProcess, directory: Path, kept: list[str], refused: dict[str, Any]) -> None:
    """Check that the server works again after a fault, and that no event is lost or stored twice."""
    assert server.request("GET", "/readyz").status == 200
    before = check_event_count(server, "anna")
    offered = [event["event_id"] for event in refused["events"]]
    # a failed commit may be in the log or not, but never in part
    assert before[: len(kept)] == kept
    assert {tuple(before[len(kept) :])} <= {(), tuple(offered), ("anna-9000",)}
    results = server.request("POST", "/v1/events", refused).body["results"]
    assert {result["status"] for result in results} <= {"accepted", "duplicate"}
    assert (
        server.request("POST", "/v1/events", batch("anna", 9001)).body["results"][0]["status"] == "accepted"
    )
    after = check_event_count(server, "anna")
    assert sorted(set(after) - {"anna-9000"}) == sorted([*kept, *offered, "anna-9001"])
    assert len(after) == len(set(after))
    assert server.stop() == 0
    assert [event.event_id for event in stored(directory, "anna")] == after


def test_a_full_disk_is_reported_and_survived(start: Start, tmp_path: Path) -> None:
    """A limit on file sizes simulates a full disk: writes beyond it fail, but small ones may still succeed."""
    server = start()
    assert server.request("POST", "/v1/events", batch("anna", 0, 20)).status == 200
    kept = [f"anna-{number}" for number in range(20)]
    full = (tmp_path / "events.db-wal").stat().st_size // PAGE * PAGE
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (full, NO_LIMIT))
    refused = batch("anna", 100, 1000, size=250)
    answer = server.request("POST", "/v1/events", refused)
    assert (answer.status, answer.body["error"]["code"]) == (503, "store_unavailable")
    assert check_event_count(server, "anna") == kept
    (line,) = lines(server, "events not written")
    assert (line["level"], line["refused"], line["lost"]) == ("error", 1000, 0)
    assert (
        server.request("POST", "/v1/events", batch("bert", 0, 1000, size=250, ack="accepted")).status == 200
    )
    until_s = time.monotonic() + 30
    while len(lines(server, "events not written")) < 2:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert lines(server, "events not written")[1]["lost"] == 1000
    assert "reprise_events_lost_total 1000.0" in server.request("GET", "/metrics").body
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (NO_LIMIT, NO_LIMIT))
    check_recovery(server, tmp_path, kept, refused)


def test_the_server_recovers_when_no_write_was_possible(start: Start, tmp_path: Path) -> None:
    """SQLite cannot even open a new connection. File descriptors must not leak meanwhile."""
    server = start()
    assert server.request("POST", "/v1/events", batch("anna", 0, 5)).status == 200
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, NO_LIMIT))
    refused = batch("anna", 100, 7)
    for _ in range(5):
        assert server.request("POST", "/v1/events", refused).status == 503
        check_unavailable(server)
    handles = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
    for _ in range(20):
        check_unavailable(server)
    assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) <= handles + 2
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (NO_LIMIT, NO_LIMIT))
    check_recovery(server, tmp_path, [f"anna-{number}" for number in range(5)], refused)


def test_events_are_not_acknowledged_when_fsync_fails(start: Start, shim: Path, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    server = start(LD_PRELOAD=str(shim), FAULT=str(fault))
    assert server.request("POST", "/v1/events", batch("anna", 0, 5)).status == 200
    fault.write_text(f"sync {errno.EIO}")
    refused = batch("anna", 100, 7)
    for _ in range(5):
        answer = server.request("POST", "/v1/events", refused)
        assert (answer.status, answer.body["error"]["code"]) == (503, "store_unavailable")
    check_unavailable(server)
    assert lines(server, "events not written")
    fault.unlink()
    check_recovery(server, tmp_path, [f"anna-{number}" for number in range(5)], refused)


def test_the_write_ahead_log_is_reset_after_a_failed_fsync(start: Start, shim: Path, tmp_path: Path) -> None:
    """Bytes whose fsync failed may be lost later, so no acknowledged event may follow them in the same file."""
    fault = tmp_path / "fault"
    server = start(LD_PRELOAD=str(shim), FAULT=str(fault))
    assert server.request("POST", "/v1/events", batch("anna", 0, 400)).status == 200
    before = (tmp_path / "events.db-wal").stat().st_size
    fault.write_text(f"sync {errno.EIO}")
    assert server.request("POST", "/v1/events", batch("anna", 400)).status == 503
    fault.unlink()
    assert server.request("POST", "/v1/events", batch("anna", 401)).status == 200
    assert (tmp_path / "events.db-wal").stat().st_size < before / 2


@contextmanager
def export(directory: Path) -> Iterator[None]:
    """Begin an export of the log, which is still running in the block."""
    with closing(sqlite3.connect(directory / "events.db")) as connection:
        rows = connection.execute("SELECT user_id, item_id, timestamp, kind FROM log")
        assert rows.fetchone()
        yield
        assert rows.fetchone()


@pytest.mark.parametrize(
    "fault_line",
    [f"sync {errno.EIO}", f"write {errno.ENOSPC}", f"write {errno.EROFS}", f"write {errno.EDQUOT}"],
)
def test_writing_continues_after_a_fault_of_the_disk_although_the_log_is_being_read(
    fault_line: str, start: Start, shim: Path, tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    server = start(LD_PRELOAD=str(shim), FAULT=str(fault))
    assert server.request("POST", "/v1/events", batch("anna", 0, 5)).status == 200
    with export(tmp_path):
        fault.write_text(fault_line)
        refused = batch("anna", 100, 7)
        for _ in range(2):
            answer = server.request("POST", "/v1/events", refused)
            assert (answer.status, answer.body["error"]["code"]) == (503, "store_unavailable")
        check_unavailable(server)
        fault.unlink()
        check_recovery(server, tmp_path, [f"anna-{number}" for number in range(5)], refused)


def test_a_server_starts_and_writes_while_the_log_is_being_read(start: Start, tmp_path: Path) -> None:
    first = start()
    assert first.request("POST", "/v1/events", batch("anna", 0, 1000)).status == 200
    first.kill()
    with export(tmp_path):
        second = start()
        assert second.request("POST", "/v1/events", batch("anna", 1000)).status == 200
        assert second.request("GET", "/readyz").status == 200
        deleted = second.request("DELETE", "/v1/users/anna")
        assert (deleted.status, deleted.body["error"]["code"]) == (503, "erasure_unverified")
        assert second.request("GET", "/v1/users/anna").body["events"] == []
        assert second.request("POST", "/v1/events", batch("anna", 1001)).status == 200
    assert second.request("DELETE", "/v1/users/anna").status == 200


@pytest.mark.parametrize("removed", [("", "-wal", "-shm"), ("-wal",), ("-shm",)], ids="+".join)
def test_no_event_is_acknowledged_after_a_file_of_the_log_was_removed(
    removed: tuple[str, ...], start: Start, tmp_path: Path
) -> None:
    server = start()
    assert server.request("POST", "/v1/events", batch("anna", 0, 5)).status == 200
    for end in removed:
        (tmp_path / f"events.db{end}").unlink()
    for _ in range(2):
        check_unavailable(server)
    (line,) = lines(server, "event log lost")
    assert "restart the server" in line["error"] and line["level"] == "error"
    assert server.stop() == 0
    found = stored(tmp_path, "anna")
    assert len(found) == (0 if "" in removed else 5)


def test_a_full_disk_at_startup_leaves_no_incomplete_log(second_model: Path, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'events.db'}"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({20 * PAGE}, {NO_LIMIT}))"
    run = f"{limit}; import sys; from reprise.cli.main import main; sys.argv[1:1] = ['serve']; main()"
    with (
        ServerProcess(
            second_model, store, tmp_path / "full.log", program=[sys.executable, "-c", run]
        ) as full,
        pytest.raises(RuntimeError, match=r"events\.db: "),
    ):
        full.wait_ready()
    with ServerProcess(second_model, store, tmp_path / "server.log") as server:
        server.wait_ready()
        assert server.request("POST", "/v1/events", batch("anna", 0, 5)).status == 200


def test_a_shutdown_under_load_loses_no_acknowledged_event(start: Start, tmp_path: Path) -> None:
    """This includes events acknowledged before they were written. Running requests finish; others get 503 `unavailable`."""
    server = start()
    accepted: list[str] = []
    unanswered: list[str] = []
    statuses: set[int] = set()
    ending = threading.Event()

    def send(worker: int) -> None:
        for place in range(10_000):
            body = batch(f"w{worker}", 3 * place, 3, ack=("durable", "accepted")[place % 2])
            ids = [event["event_id"] for event in body["events"]]
            try:
                reply = server.request("POST", "/v1/events", body)
                statuses.add(reply.status)
                if reply.status == 200:
                    accepted.extend(ids)
                question = server.request("POST", "/v1/recommend", {"user_id": f"w{worker}"})
                statuses.add(question.status)
                for refused in (one for one in (reply, question) if one.status == 503):
                    assert ending.is_set() and refused.body["error"]["code"] == "unavailable"
            except OSError:
                assert ending.is_set()
                unanswered.extend(ids)
                return

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(send, worker) for worker in range(4)]
        time.sleep(1)
        ending.set()
        assert server.stop() == 0
        for worker in workers:
            worker.result()
    found = [event.event_id for worker in range(4) for event in stored(tmp_path, f"w{worker}")]
    assert 200 in statuses and statuses <= {200, 429, 503}
    assert len(found) == len(set(found))
    assert len(accepted) > 20 and set(accepted) <= set(found)
    assert set(found) <= {*accepted, *unanswered}
