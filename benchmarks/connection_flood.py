"""How long new clients wait while one address keeps many connections of `reprise serve` busy.

    python benchmarks/connection_flood.py MODEL [--connections 512] [--requests 15] [--pipelined]

A process of its own sends recommendations on all connections, on each one after another, or all of a connection together
with `--pipelined`. Meanwhile a client of another address (127.0.0.2) asks for its health and for recommendations, on new
connections and on open ones. Prints JSON: the statuses of the flood, and the median and the maximum of the waiting times.
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.client import HTTPResponse
from pathlib import Path

import uvloop
from http_connections import HOST, request

from reprise.testing.server_process import ServerProcess

OTHER_ADDRESS = "127.0.0.2"
PAUSE_S = 0.05
"""Seconds between two requests of the other client."""


def recommendation(user: str) -> bytes:
    return request("POST", "/v1/recommend", json.dumps({"user_id": user, "k": 10}).encode())


ASKED = {"health": request("GET", "/healthz"), "recommendation": recommendation("other")}


async def flood(port: int, connections: int, requests: int, pipelined: bool) -> Counter[str]:
    """Send all requests, and return the number of responses by status or by the class of the failure."""
    statuses: Counter[str] = Counter()

    async def one(number: int) -> None:
        sent = [recommendation(f"u{number}-{place}") for place in range(requests)]
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
            for part in [b"".join(sent), *[b""] * (requests - 1)] if pipelined else sent:
                writer.write(part)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
                statuses[head.split()[1].decode()] += 1
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            statuses[type(error).__name__] += 1

    await asyncio.gather(*map(one, range(connections)))
    return statuses


def ask(port: int, sent: bytes, is_new: bool, stop: threading.Event, waited_s: list[float]) -> None:
    """Send one request again and again, on a new or on an open connection."""
    connection: socket.socket | None = None
    while not stop.is_set():
        start_s = time.monotonic()
        if connection is None:
            connection = socket.create_connection((HOST, port), timeout=60, source_address=(OTHER_ADDRESS, 0))
        connection.sendall(sent)
        response = HTTPResponse(connection)
        response.begin()
        response.read()
        waited_s.append(time.monotonic() - start_s)
        if is_new:
            connection.close()
            connection = None
        time.sleep(PAUSE_S)
    if connection is not None:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="saved model")
    parser.add_argument("--connections", type=int, default=512, help="of the flood (512)")
    parser.add_argument("--requests", type=int, default=15, help="on each connection (15)")
    parser.add_argument("--pipelined", action="store_true", help="send the requests of a connection together")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.port:  # the process of the flood
        work = flood(options.port, options.connections, options.requests, options.pipelined)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(work)))
        return
    with tempfile.TemporaryDirectory() as name:
        store = f"sqlite:///{name}/events.db"
        with ServerProcess(options.model, store, Path(name) / "log", options=("--quiet",)) as server:
            server.wait_ready()
            print(json.dumps(measured(server.port), indent=2))
            server.stop()


def measured(port: int) -> dict[str, object]:
    """Run the flood in a process of its own, and return the waiting times of the other client."""
    stop = threading.Event()
    waited_s: dict[str, list[float]] = {}
    threads = []
    for what, sent in ASKED.items():
        for is_new in (True, False):
            times = waited_s[f"{what}, {'new' if is_new else 'open'} connection"] = []
            threads.append(threading.Thread(target=ask, args=(port, sent, is_new, stop, times)))
    for thread in threads:
        thread.start()
    time.sleep(1)
    for times in waited_s.values():
        times.clear()  # what came before the flood
    command = [sys.executable, __file__, *sys.argv[1:], "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    stop.set()
    for thread in threads:
        thread.join()
    spread = {
        what: {"median s": round(statistics.median(times), 6), "maximum s": round(max(times), 6)}
        for what, times in waited_s.items()
    }
    return {"flood": json.loads(done.stdout), **spread}


if __name__ == "__main__":
    main()
