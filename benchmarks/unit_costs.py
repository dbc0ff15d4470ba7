"""Cost of one event, user, item or request of each part, measured on this machine with synthetic data.

`scaling.py measure` calls this module. Times are processor time of one thread. Network of width 128, two layers.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from psycopg import connect
from psycopg.conninfo import conninfo_to_dict

WIDTH = 128
ITEMS = 100_000
"""Items of the measured models."""
EVENTS = (2_000_000, 10_000_000)
"""Events of the two logs whose difference is the cost of an event, without what each run costs."""
LOG_ITEMS = 200_000
"""Items of these logs."""
MEMORY_LIMIT = "300MB"
"""Memory that `prepare` may use; it spills the rest to the disk."""
HISTORY = 20
"""Events of each user, if nothing else is said."""
BLOCKS, BLOCK = 10, 100
"""Blocks of requests of each kind, and requests of each block."""
QUANTILES = 50
"""Number of service times that are kept: quantiles of all of them, at equal distances."""
Costs = dict[str, float | list[float]]


def prepare() -> Costs:
    """Measure `prepare`: time, the disk that it needs meanwhile, and the size of a dataset."""
    import prepare as benchmark

    from reprise.data.dataset import SequenceDataset

    costs: Costs = {}
    cpu_s, disk_bytes = [], []
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log.parquet"
        for events in EVENTS:
            benchmark.write_log(log, events, LOG_ITEMS, "text")
            out = Path(name) / f"data-{events}" / "data"
            out.parent.mkdir()
            with _PeakDisk(out.parent) as disk:
                took = benchmark.measure("prepare", log, out, MEMORY_LIMIT)
            cpu_s.append(took["cpu_s"])
            disk_bytes.append(disk.peak_bytes)
        costs["prepare_us_an_event"] = 1e6 * (cpu_s[1] - cpu_s[0]) / (EVENTS[1] - EVENTS[0])
        costs["prepare_disk_bytes_an_event"] = (disk_bytes[1] - disk_bytes[0]) / (EVENTS[1] - EVENTS[0])
        costs["log_bytes_an_event"] = log.stat().st_size / EVENTS[1]
        dataset = SequenceDataset.open(out)
        sizes = {file.name: file.stat().st_size for file in out.iterdir()}
        arrays = ("item.npy", "time_ms.npy", "kind.npy", "value.npy")
        costs["dataset_bytes_an_event"] = sum(sizes[name] for name in arrays) / len(dataset.item)
        users = ("offset.npy", "train_end.npy", "valid_end.npy", "sequences.parquet")
        costs["dataset_bytes_a_user"] = sum(sizes[name] for name in users) / len(dataset)
        costs["dataset_bytes_an_item"] = sizes["items.parquet"] / len(dataset.items)
    return costs


class _PeakDisk:
    """The largest size of a folder while a block runs."""

    def __init__(self, folder: Path) -> None:
        self.peak_bytes = 0
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_PeakDisk":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            with suppress(FileNotFoundError):  # a file that was deleted meanwhile
                self.peak_bytes = max(self.peak_bytes, _disk_bytes(self._folder))


def train() -> Costs:
    """Measure training steps with sampled negatives."""
    import torch
    from prepare import write_log
    from training import product_multiple

    from reprise import Recipe, Recurrent
    from reprise.data.preparing.prepare import prepare

    torch.set_num_threads(1)
    costs: Costs = {}
    with tempfile.TemporaryDirectory() as name:
        write_log(Path(name) / "log.parquet", EVENTS[0], LOG_ITEMS, "text")
        dataset = prepare(Path(name) / "log.parquet", Path(name) / "data", progress=False)
        for width in (64, 128):
            found = product_multiple(Recipe(model=Recurrent(size=width)), dataset, steps=6, rounds=3)
            costs[f"train_us_an_event_at_width_{width}"] = 1e6 / found["events/s"]
    return costs


def evaluate() -> Costs:
    """Measure full ranking."""
    import evaluation
    import torch

    torch.set_num_threads(1)
    targets = 2_000
    model, dataset = evaluation.Vectors(ITEMS, WIDTH), evaluation.random_log(targets, ITEMS)
    options = evaluation.EvaluationOptions(lists=False, leaks=False, progress=False)
    took_s = min(
        evaluation.seconds(lambda: evaluation.rp.evaluate(model, dataset, at=(10, 20), options=options))[0]
        for _ in range(3)
    )
    return {"evaluate_ns_a_target_and_item": 1e9 * took_s / targets / ITEMS}


def answer() -> Costs:
    """Measure bulk recommendations, the search, and a saved model on disk and in memory."""
    from serving_costs import made_model

    from reprise import Recommender

    generator = np.random.default_rng(0)
    costs: Costs = {}
    with tempfile.TemporaryDirectory() as name:
        path = made_model(Path(name) / "shop.model", ITEMS, WIDTH)
        small = made_model(Path(name) / "small.model", 1_000, WIDTH)
        size, memory = ([measure(one) for one in (small, path)] for measure in (_disk_bytes, _memory_bytes))
        costs["model_bytes_an_item"] = (size[1] - size[0]) / (ITEMS - 1_000)
        costs["model_memory_bytes_an_item"] = (memory[1] - memory[0]) / (ITEMS - 1_000)
        costs["server_memory_bytes"] = memory[0] - 1_000 * costs["model_memory_bytes_an_item"]
        shop = Recommender.load(small)
        costs["state_bytes_a_user"] = shop.session().state_bytes
        took_s = []
        for length in (HISTORY, 4 * HISTORY):
            histories = [
                [f"p{item}" for item in row] for row in generator.integers(1_000, size=(1_000, length))
            ]
            took_s.append(_cpu_s(lambda given=histories: shop.recommend_many(given, 20)) / 1_000)
        costs["fold_us_an_event"] = 1e6 * (took_s[1] - took_s[0]) / (3 * HISTORY)
        # without the thousand items of the small model, which cost about a microsecond
        costs["answer_us_a_user"] = 1e6 * took_s[0] - HISTORY * costs["fold_us_an_event"]
    return costs | _search(generator)


def _search(generator: np.random.Generator) -> Costs:
    from reprise.recommender.search.quantized_index import QuantizedIndex

    index = QuantizedIndex(generator.standard_normal((ITEMS, WIDTH), dtype=np.float32), min_items=1)
    costs: Costs = {}
    for batch in (1, 64):
        query_BD = generator.standard_normal((batch, WIDTH), dtype=np.float32)
        took_s = _cpu_s(lambda given=query_BD: index.search(given, 20), repeats=50 // batch + 2)
        costs[f"search_ns_an_item_in_batches_of_{batch}"] = 1e9 * took_s / batch / ITEMS
    return costs


def request() -> Costs:
    """Measure a server with a PostgreSQL store: processor time of each request, and of the database."""
    return asyncio.run(_request())


async def _request() -> Costs:
    import logs
    from http_connections import Pool
    from load import catalogue_ids
    from serving_costs import ask, events, made_model, question

    from reprise.testing.server_process import ServerProcess

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = made_model(folder / "shop.model", ITEMS, WIDTH)
        ids = catalogue_ids(model)
        with (
            logs.address("postgres", folder) as address,
            ServerProcess(model, address, folder / "log", options=("--quiet",)) as server,
        ):
            server.wait_ready()
            pool = Pool(server.port, 1)
            await pool.prepare(1)
            now_ms = time.time_ns() // 1_000_000 - 10**7
            for user in range(HISTORY):
                await ask(pool, events(f"u{user}", ids[:HISTORY], f"past{user}", now_ms))
                await ask(pool, question(f"u{user}"))
            kinds = {
                "event": lambda place: events(
                    f"u{place % HISTORY}", [ids[place]], f"e{place}", now_ms + 10**6 + place
                ),
                "recommendation": lambda place: question(f"u{place % HISTORY}"),
            }
            costs: Costs = {}
            for kind, sent in kinds.items():
                bytes_sent = sent(BLOCKS * BLOCK)
                _, bytes_received = await ask(pool, bytes_sent)
                costs[f"{kind}_network_bytes"] = float(len(bytes_sent) + len(bytes_received))
                blocks: list[tuple[float, list[float]]] = []
                for block in range(BLOCKS):
                    before_s = _database_cpu_s(address)
                    taken_us = [
                        await _cpu_us(server.pid, ask(pool, sent(place)))
                        for place in range(block * BLOCK, (block + 1) * BLOCK)
                    ]
                    blocks.append((1e6 * (_database_cpu_s(address) - before_s) / BLOCK, taken_us))
                # other work on the machine only adds processor time, so the least disturbed block counts
                costs[f"{kind}_database_us"] = min(us for us, _ in blocks)
                costs[f"{kind}_server_us"], fastest = min((float(np.mean(us)), us) for _, us in blocks)
                places = (np.arange(QUANTILES) + 0.5) / QUANTILES
                costs[f"{kind}_service_us"] = np.quantile(fastest, places).round(1).tolist()
            await pool.close()
            server.stop()
    return costs


def store() -> Costs:
    """Measure the size of the event log, with events of about as many users as a shop has per event."""
    import logs
    from stores import group

    from reprise.server.store.opening import open_store

    events, batch = 60_000, 1_000
    costs: Costs = {}
    for kind in ("sqlite", "postgres"):
        bytes_by_users = {}
        for users in (events // HISTORY // 10, events // HISTORY):
            with tempfile.TemporaryDirectory() as name, logs.address(kind, Path(name)) as address:
                generator, log = random.Random(0), open_store(address)
                empty = _store_bytes(address, Path(name))
                for _ in range(events // batch):
                    log.append(group(batch, users, "shop", generator))
                if kind == "postgres":
                    with connect(address, autocommit=True) as connection:
                        connection.execute("CHECKPOINT")
                log.close()
                bytes_by_users[users] = _store_bytes(address, Path(name)) - empty
        (few, few_bytes), (many, many_bytes) = bytes_by_users.items()
        costs[f"{kind}_bytes_a_user"] = max(0.0, (many_bytes - few_bytes) / (many - few))
        costs[f"{kind}_bytes_an_event"] = (many_bytes - many * costs[f"{kind}_bytes_a_user"]) / events
    return costs


PARTS: dict[str, Callable[[], Costs]] = {
    part.__name__: part for part in (prepare, train, evaluate, answer, request, store)
}


def measure(parts: Sequence[str]) -> Costs:
    """Run some parts, each in a process of its own, and return their costs."""
    costs: Costs = {}
    for part in parts:
        call = [sys.executable, __file__, part]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        costs |= json.loads(done.stdout.splitlines()[-1])
    return costs


def _rounded(value: float | list[float]) -> float | list[float]:
    return value if isinstance(value, list) else float(f"{value:.4g}")


def _cpu_s(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the processor seconds of the fastest call, after one that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def _process_s(pid: int) -> float:
    """Return the processor seconds of another process so far, over all threads, with a resolution of nanoseconds."""
    return time.clock_gettime((~pid << 3) | 2)  # what `clock_getcpuclockid` of Linux returns


async def _cpu_us(pid: int, work: Awaitable[object]) -> float:
    before_s = _process_s(pid)
    await work
    return 1e6 * (_process_s(pid) - before_s)


def _database_cpu_s(address: str) -> float:
    """Return the processor seconds of the processes of a PostgreSQL server, but not of those that have ended."""
    folder = Path(conninfo_to_dict(address)["host"])
    postmaster = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    return sum(_process_s(process.pid) for process in (postmaster, *postmaster.children(recursive=True)))


def _store_bytes(address: str, folder: Path) -> int:
    if address.startswith("sqlite"):
        return sum(file.stat().st_size for file in folder.glob("events.db*"))
    with connect(address, autocommit=True) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def _disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _memory_bytes(model: Path) -> int:
    """Return the memory of a process that has loaded a model and answered."""
    code = f"""
import psutil
from pathlib import Path
from reprise.server import process
from reprise import Recommender
shop = Recommender.load({str(model)!r})
shop.recommend(["p1"], 20)
print(psutil.Process().memory_info().rss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


if __name__ == "__main__":
    print(json.dumps({name: _rounded(value) for name, value in PARTS[sys.argv[1]]().items()}))
