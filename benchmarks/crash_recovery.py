"""Crash recovery: `kill -9` at random times under load.

Acknowledged events must exist exactly once, and states must equal the fold of the log.

    python benchmarks/crash_recovery.py [--kills 200] [--seed 1] [--store sqlite|postgres] [--out FILE]

Clients send new, late and repeated events, and ask for recommendations. Unacknowledged events are sent again to the next
server, or never. After each kill the log is compared with what the clients know. Prints JSON; fails at a violation.
"""

import argparse
import asyncio
import json
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import logs
import uvloop
from http_connections import Pool, request

from reprise import Recommender
from reprise.server.http.auth import DEFAULT_TENANT
from reprise.server.store.opening import open_store
from reprise.server.store.records import User
from reprise.testing.server_process import ServerProcess
from reprise.testing.worlds import world

ITEMS = 12
CLOSE = 1e-4
"""Tolerance for scores: the server may search for several questions in one batch."""
Event = dict[str, Any]


def small_model(path: Path, seed: int) -> Path:
    """Return a model of twelve items with random weights."""
    import torch

    from reprise import Recurrent

    generator = random.Random(seed)
    log = world([[f"p{generator.randrange(ITEMS)}" for _ in range(10)] for _ in range(30)])
    torch.manual_seed(seed)
    Recommender(Recurrent(size=16).build(log.sizes), log).save(path)
    return path


@dataclass
class Book:
    """Record of what clients sent and of the replies they got."""

    generator: random.Random
    users: int
    sent: dict[str, Event] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    """Ids that were acknowledged as durable."""
    again: list[Event] = field(default_factory=list)
    """Unanswered, to be sent again."""
    clock_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000 - 10**9)
    replies: Counter[str] = field(default_factory=Counter)

    def batch(self) -> list[Event]:
        """Return a few events: new ones, late ones, and repeated ones."""
        events = []
        for _ in range(self.generator.randint(1, 4)):
            chance = self.generator.random()
            if self.again and chance < 0.5:
                events.append(self.again.pop())
            elif self.sent and chance < 0.6:
                events.append(self.sent[self.generator.choice(list(self.sent)[-500:])])
            else:
                events.append(self._new())
        return events

    def _new(self) -> Event:
        self.clock_ms += self.generator.randrange(0, 50)
        late_ms = self.generator.randrange(100_000) if self.generator.random() < 0.1 else 0
        event = {
            "user_id": f"u{self.generator.randrange(self.users)}",
            "item_id": f"p{self.generator.randrange(ITEMS)}",
            "timestamp": self.clock_ms - late_ms,
            "event_id": f"e{len(self.sent)}",
        }
        self.sent[event["event_id"]] = event
        return event

    def answered(self, events: list[Event], status: int, body: bytes, durable: bool) -> None:
        """Record the reply to a batch."""
        self.replies[str(status)] += 1
        if status != 200:
            # some clients send unacknowledged events again, some do not
            self.again += [event for event in events if self.generator.random() < 0.7]
            return
        for event, result in zip(events, json.loads(body)["results"], strict=True):
            self.replies[result["status"]] += 1
            if result["status"] == "rejected":
                raise SystemExit(f"{event} was rejected: {result['error']}")
            if durable:
                self.acknowledged.add(event["event_id"])


async def client(pool: Pool, book: Book, stopped: asyncio.Event) -> None:
    """Send one request after another until the server is down."""
    loop = asyncio.get_running_loop()
    while not stopped.is_set():
        answered: asyncio.Future[tuple[int, bytes]] = loop.create_future()

        def done(status: int, body: bytes, later: bool, answered: Any = answered) -> None:
            answered.set_result((status, body))

        if book.generator.random() < 0.3:
            user = f"u{book.generator.randrange(book.users)}"
            pool.send(request("POST", "/v1/recommend", json.dumps({"user_id": user}).encode()), done)
            status, _ = await answered
            book.replies[f"recommend {status}"] += 1
            continue
        events, durable = book.batch(), book.generator.random() < 0.8
        body = {"events": events, "ack": "durable" if durable else "accepted"}
        pool.send(request("POST", "/v1/events", json.dumps(body).encode()), done)
        book.answered(events, *(await answered), durable)


async def busy(server: ServerProcess, book: Book, options: argparse.Namespace, *, kill: bool) -> None:
    """Apply load until a random time, then kill the server or stop the clients."""
    await asyncio.to_thread(server.wait_ready)
    pool, stopped = Pool(server.port, options.clients), asyncio.Event()
    clients = [asyncio.ensure_future(client(pool, book, stopped)) for _ in range(options.clients)]
    await asyncio.sleep(book.generator.uniform(options.shortest, options.longest))
    if kill:
        server.process.kill()
    stopped.set()
    await asyncio.gather(*clients)
    await pool.close()


def breaches(store: str, book: Book) -> list[str]:
    """Return how the log violates its guarantees: missing, repeated or unknown events."""
    found: list[str] = []
    log = open_store(store)
    try:
        by_user = {user: log.events_since(User(DEFAULT_TENANT, user)).events for user in all_users(book)}
    finally:
        log.close()
    stored: Counter[str] = Counter()
    for user, events in by_user.items():
        if [event.seq for event in events] != list(range(1, len(events) + 1)):
            found.append(f"the places of {user} have gaps: {[event.seq for event in events]}")
        for event in events:
            stored[event.event_id or ""] += 1
            sent = book.sent.get(event.event_id or "")
            if sent is None or (user, event.item_id, event.time_ms) != tuple(
                sent[name] for name in ("user_id", "item_id", "timestamp")
            ):
                found.append(f"{event} of {user} is stored, but {sent} was sent")
    found += [f"{name} is stored {count} times" for name, count in stored.items() if count > 1]
    found += [f"{name} was acknowledged and is gone" for name in sorted(book.acknowledged - stored.keys())]
    return found


def all_users(book: Book) -> list[str]:
    return [f"u{number}" for number in range(book.users)]


async def differences(server: ServerProcess, book: Book, shop: Recommender) -> list[str]:
    """Return users whose state or answer from the server differs from the fold of the log."""
    found: list[str] = []
    now_ms = book.clock_ms + 10**6
    for user in all_users(book):
        reply = (await asyncio.to_thread(server.request, "GET", f"/v1/users/{user}?limit=10000")).body
        state, events = reply["state"], reply["events"]
        if (state["events"], state["skipped"], state["last_seq"]) != (len(events), 0, len(events)):
            found.append(f"the state of {user} is {state}, the log has {len(events)} events")
        history = [
            (event["item_id"], event["timestamp"])
            for event in sorted(events, key=lambda event: (event["timestamp"], event["seq"]))
        ]
        expected = {one.item_id: one.score for one in shop.recommend(history, ITEMS, now=now_ms)}
        body = {"user_id": user, "k": ITEMS, "now": now_ms}
        answer = (await asyncio.to_thread(server.request, "POST", "/v1/recommend", body)).body
        scores = {one["item_id"]: one["score"] for one in answer["items"]}
        if scores.keys() != expected.keys() or any(
            abs(scores[item] - expected[item]) > CLOSE for item in scores
        ):
            found.append(f"the answer to {user} is {scores}, the fold of the log says {expected}")
    return found


async def killed(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all kills and the checks between and after them."""
    model = options.model or await asyncio.to_thread(small_model, folder / "shop.model", options.seed)
    with logs.address(options.store, folder) as store:
        return await survived(options, folder, model, store)


async def survived(options: argparse.Namespace, folder: Path, model: Path, store: str) -> dict[str, Any]:
    """Return the summary after all kills."""
    book, shop = Book(random.Random(options.seed), options.users), Recommender.load(model)
    start_s = time.monotonic()
    for kill in range(1, options.kills + 1):
        with ServerProcess(model, store, folder / "server.log", options=["--quiet"]) as server:
            await busy(server, book, options, kill=True)
        await asyncio.to_thread(judge, breaches(store, book), kill)
        if kill % options.every == 0 or kill == options.kills:
            with ServerProcess(model, store, folder / "server.log", options=["--quiet"]) as server:
                await busy(server, book, options, kill=False)
                judge(await differences(server, book, shop), kill)
    return {
        "kills": options.kills,
        "seconds": round(time.monotonic() - start_s, 1),
        "events sent": len(book.sent),
        "acknowledged as durable": len(book.acknowledged),
        "replies": dict(sorted(book.replies.items())),
        "breaches": 0,
    }


def judge(found: list[str], kill: int) -> None:
    """Exit with the violations, if there are any."""
    if found:
        raise SystemExit("\n".join([f"after kill {kill}, {len(found)} breaches:", *found[:20]]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, words in (
        ("kills", 200, "how often"),
        ("seed", 1, "seed of times, events and weights"),
        ("users", 40, "whose events they are"),
        ("clients", 6, "that send at the same time"),
        ("every", 10, "kills all states are compared with the log"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{words} ({default})")
    parser.add_argument("--shortest", type=float, default=0.05, help="seconds of load before a kill")
    parser.add_argument("--longest", type=float, default=1.0, help="seconds of load before a kill")
    parser.add_argument("--store", default="sqlite", help=logs.HELP)
    parser.add_argument(
        "--model", type=Path, help="saved model with items p0 to p11 (default: random weights)"
    )
    parser.add_argument("--out", type=Path, help="file for the printed result")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result = runner.run(killed(options, Path(folder)))
    text = json.dumps(
        {"command": shlex.join(["benchmarks/crash_recovery.py", *sys.argv[1:]]), **result}, indent=2
    )
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
