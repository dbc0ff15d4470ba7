"""One user with a long history: how long the user waits, and what others notice meanwhile.

    python benchmarks/long_histories.py MODEL ITEM [--events 100000] [--against CHECKOUT] [--out FILE]

A user gets many events, and asks for recommendations until they are answered; then after one late event, and after a
restart. Meanwhile another client asks for explanations of a short history, one after another. ITEM is the id of an item of
the model. Prints JSON: seconds until the answer, the statuses before it, and quantiles of the explanations in ms.
"""

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from reprise.testing.server_process import ServerProcess

BATCH = 1_000
"""Number of events of one request."""
GIVE_UP_S = 300.0
"""Time after which the questions for the user end."""
LATE_S = 1_600_000_000
"""Time of the late event, long before all others."""
CALM_S = 5.0
"""Seconds of explanations while nothing else happens."""


class Explanations:
    """Explanations of another user's short history, one after another, in a thread."""

    def __init__(self, server: ServerProcess, item: str) -> None:
        self._server, self._item = server, item
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.times_ms: list[float] = []
        self.statuses: Counter[int] = Counter()

    def _ask(self) -> None:
        body = {"events": [{"item_id": self._item}], "k": 1, "explain": True}
        while not self._stop.is_set():
            start_s = time.perf_counter()
            self.statuses[self._server.request("POST", "/v1/recommend", body).status] += 1
            self.times_ms.append(1000 * (time.perf_counter() - start_s))
            time.sleep(0.02)

    def __enter__(self) -> "Explanations":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def summary(self) -> dict[str, Any]:
        """Return the number of explanations by status and the quantiles of their times."""
        quantiles = dict(zip(("p50", "p99", "max"), np.percentile(self.times_ms, (50, 99, 100)), strict=True))
        return {
            "statuses": dict(self.statuses),
            **{f"{name} ms": round(ms, 1) for name, ms in quantiles.items()},
        }


def ask_until_answered(server: ServerProcess) -> dict[str, Any]:
    """Ask for recommendations of the user until they are answered; return the time and the statuses before."""
    statuses: Counter[int] = Counter()
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < GIVE_UP_S:
        status = server.request(
            "POST", "/v1/recommend", {"user_id": "guest", "k": 1}, within_s=GIVE_UP_S
        ).status
        if status == 200:
            break
        statuses[status] += 1
        time.sleep(1.0)  # Retry-After
    again_s = time.perf_counter()
    server.request("POST", "/v1/recommend", {"user_id": "guest", "k": 1}, within_s=GIVE_UP_S)
    return {
        "answered after s": round(again_s - start_s, 3),
        "statuses before": dict(statuses),
        "next answer after s": round(time.perf_counter() - again_s, 3),
    }


def measured(server: ServerProcess, item: str) -> dict[str, Any]:
    """Ask for the user's recommendations while another client asks for explanations."""
    with Explanations(server, item) as explanations:
        answer = ask_until_answered(server)
    return {**answer, "explanations meanwhile": explanations.summary()}


def send_events(server: ServerProcess, item: str, count: int, **fields: Any) -> None:
    """Send `count` equal events of the user, `BATCH` in each request."""
    event = {"user_id": "guest", "item_id": item, **fields}
    for start in range(0, count, BATCH):
        reply = server.request("POST", "/v1/events", {"events": [event] * min(BATCH, count - start)})
        assert reply.status == 200 and {one["status"] for one in reply.body["results"]} == {"accepted"}, reply


def run(options: argparse.Namespace, environment: dict[str, str], folder: Path) -> dict[str, Any]:
    """Measure one version of the server."""
    store = f"sqlite:///{folder}/events.db"
    result: dict[str, Any] = {}
    with ServerProcess(
        options.model, store, folder / "log", options=("--quiet",), environment=environment
    ) as server:
        server.wait_ready(60)
        send_events(server, options.item, options.events)
        with Explanations(server, options.item) as calm:
            time.sleep(CALM_S)
        result["nothing else"] = calm.summary()
        result["first question"] = measured(server, options.item)
        send_events(server, options.item, 1, timestamp=LATE_S)
        result["after a late event"] = measured(server, options.item)
        send_events(server, options.item, 1)
        time.sleep(3)
        start_s = time.perf_counter()
        server.stop(GIVE_UP_S)
        result["stopped after s"] = round(time.perf_counter() - start_s, 3)
    with ServerProcess(
        options.model, store, folder / "log", options=("--quiet",), environment=environment
    ) as server:
        server.wait_ready(60)
        result["after a restart"] = measured(server, options.item)
        server.stop(GIVE_UP_S)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("item")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="another version, measured before this one"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    versions = {"this version": dict[str, str]()}
    if options.against is not None:
        source = str(options.against.resolve() / "src")
        versions = {"other version": {"PYTHONPATH": source}, **versions}
    results = {}
    for name, environment in versions.items():
        with tempfile.TemporaryDirectory() as folder:
            results[name] = run(options, environment, Path(folder))
    text = json.dumps({"events": options.events, **results}, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
