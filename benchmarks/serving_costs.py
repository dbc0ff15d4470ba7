"""Cost of one request to an idle server, by catalogue size and by history length.

Requests are sent one after another on one connection, by turns to the servers or users that are compared.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from http_connections import Pool, request
from load import catalogue_ids

RESAMPLES = 2_000
PAST = 20
"""Events of the queried user, for each catalogue size."""
PEOPLE = 20
"""Users for each history length."""
BATCH = 1_000
Running = Callable[..., AbstractAsyncContextManager[Any]]


def made_model(path: Path, items: int, width: int, **search: str) -> Path:
    """Return a model with random weights, saved with the arguments `search`."""
    from answering import catalogue

    from reprise import Recommender, Recurrent

    dataset = catalogue(items)
    Recommender(Recurrent(size=width).build(dataset.sizes), dataset).save(path, **search)
    return path


async def ask(pool: Pool, sent: bytes) -> tuple[float, bytes]:
    """Return the seconds until the answer, and the answer."""
    answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
    start_s = time.perf_counter()
    pool.send(sent, lambda status, body, later: answered.set_result((status, body)))
    status, body = await answered
    took_s = time.perf_counter() - start_s
    if status != 200:
        raise SystemExit(f"the server answered {status}: {body.decode()}")
    return took_s, body


def events(user: str, items: Sequence[str], name: str, start_ms: int) -> bytes:
    """Return a batch of one user's events, a second apart."""
    fields = ",".join(
        f'{{"user_id":"{user}","item_id":"{item}","event_id":"{name}-{place}","timestamp":{start_ms + 1000 * place}}}'
        for place, item in enumerate(items)
    )
    return request("POST", "/v1/events", f'{{"events":[{fields}]}}'.encode())


def question(user: str, exclude_seen: bool = False) -> bytes:
    body = f'{{"user_id":"{user}","exclude_seen":{"true" if exclude_seen else "false"}}}'
    return request("POST", "/v1/recommend", body.encode())


async def sizes(options: argparse.Namespace, folder: Path, running: Running) -> dict[str, Any]:
    """Find the catalogue size from which the item search costs more than the rest of a request."""
    rows = []
    for items in options.sizes:
        model = await asyncio.to_thread(made_model, folder / f"{items}.model", items, options.width)
        home = folder / str(items)
        home.mkdir()
        async with (
            running(options, model, home) as real,
            running(options, model, home, "without model") as bare,
        ):
            rows.append({"items": items, **await _compared(options, [real.pool, bare.pool])})
    return {"width": options.width, "sizes": rows, "scoring takes over at, items": takes_over(rows)}


async def _compared(options: argparse.Namespace, pools: Sequence[Pool]) -> dict[str, float]:
    past = [f"p{place}" for place in range(PAST)]
    for pool in pools:
        await ask(pool, events("u", past, "e", time.time_ns() // 1_000_000 - 10**6))
    took_s: list[list[float]] = [[], []]
    for repeat in range(options.repeats + 20):
        for place, pool in enumerate(pools):
            seconds, _ = await ask(pool, question("u"))
            if repeat >= 20:
                took_s[place].append(seconds)
    real_us, bare_us = (statistics.median(times) * 1e6 for times in took_s)
    return {
        "recommend, us": round(real_us, 1),
        "without its model, us": round(bare_us, 1),
        "the model, us": round(real_us - bare_us, 1),
        "model to the rest": round((real_us - bare_us) / bare_us, 3),
    }


def takes_over(rows: Sequence[dict[str, Any]]) -> int | None:
    """Interpolate the size at which the model costs more than the rest; None if it never or always does."""
    for below, above in pairwise(rows):
        low, high = below["model to the rest"], above["model to the rest"]
        if low < 1 <= high:
            return round(below["items"] + (1 - low) / (high - low) * (above["items"] - below["items"]))
    return None


async def pasts(options: argparse.Namespace, model: Path, folder: Path, running: Running) -> dict[str, Any]:
    """Measure an event and the answer after it for users with short and with long histories, by turns."""
    generator, ids = np.random.default_rng(options.seed), await asyncio.to_thread(catalogue_ids, model)
    start_ms = time.time_ns() // 1_000_000 - 20_000_000
    people = {length: [f"past{length}-{person}" for person in range(PEOPLE)] for length in options.pasts}
    async with running(options, model, folder) as real:
        for length, users in people.items():
            for user in users:
                for first in range(0, length, BATCH):
                    count = min(BATCH, length - first)
                    items = [ids[item] for item in generator.integers(len(ids), size=count)]
                    await ask(real.pool, events(user, items, f"{user}-{first}", start_ms + 1000 * first))
        cold = await _cold(real.pool, people, options.exclude_seen)
        turns = await _by_turns(options, real.pool, people, ids[0])
    short, long = options.pasts
    return {
        "users of each": PEOPLE,
        "first question, whole past folded, ms": cold,
        "then": {
            name: {
                **{f"{length} events, median us": round(float(np.median(us[length])), 1) for length in us},
                **{f"{length} events, mean us": round(float(np.mean(us[length])), 1) for length in us},
                **{
                    f"{word} of {long} to {short}": ratio(us[long], us[short], middle)
                    for word, middle in (("medians", np.median), ("means", np.mean))
                },
            }
            for name, us in turns.items()
        },
    }


async def _cold(pool: Pool, people: dict[int, list[str]], exclude_seen: bool) -> dict[str, float]:
    """Measure the first question of a user after a restart, when no state is cached."""
    fields = {}
    for length, users in people.items():
        seconds = [(await ask(pool, question(user, exclude_seen)))[0] for user in users]
        fields[f"{length} events"] = round(statistics.median(seconds) * 1000, 2)
    return fields


async def _by_turns(
    options: argparse.Namespace, pool: Pool, people: dict[int, list[str]], item: str
) -> dict[str, dict[int, np.ndarray]]:
    both = ("event", "recommend", "both")
    us: dict[str, dict[int, list[float]]] = {name: {length: [] for length in people} for name in both}
    lengths = list(people)
    for repeat in range(options.repeats):
        for length in lengths if repeat % 2 else lengths[::-1]:
            user = people[length][repeat % PEOPLE]
            now_ms = time.time_ns() // 1_000_000
            event_s, _ = await ask(pool, events(user, [item], f"{user}+{repeat}", now_ms))
            answer_s, answer = await ask(pool, question(user, options.exclude_seen))
            fields = f'"events":{length + repeat // PEOPLE + 1},'.encode()
            assert fields in answer, f"{fields!r} is not in {answer!r}"
            for name, seconds in zip(both, (event_s, answer_s, event_s + answer_s), strict=True):
                us[name][length].append(seconds * 1e6)
    return {name: {length: np.array(values) for length, values in by.items()} for name, by in us.items()}


def ratio(
    above: np.ndarray, below: np.ndarray, middle: Callable[[np.ndarray], Any]
) -> dict[str, float | list[float]]:
    """Return a ratio with a 95 % interval by resampling the pairs."""
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        place_N = generator.integers(len(above), size=len(above))
        drawn.append(float(middle(above[place_N]) / middle(below[place_N])))
    interval = [round(float(end), 3) for end in np.quantile(drawn, [0.025, 0.975])]
    return {"ratio": round(float(middle(above) / middle(below)), 3), "interval": interval}
