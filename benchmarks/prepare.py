"""Speed and memory of `prepare` on synthetic logs of any size.

python benchmarks/prepare.py --events 1e6 1e7 --memory-limit 2GB 300MB --out results.json
python benchmarks/prepare.py --events 5e6 5e7 --items 1e6 --ids integer text --memory-limit 4GB --jobs prepare open train

Each measurement is a separate process, so that its peak memory is its own. `duckdb sort` is plain DuckDB under the same
limit: sort the same file by user and time, and write it as Parquet. The other jobs read the dataset that `prepare` wrote:
open it, describe it, search it for leaks, train 20 steps of a small network with sampled negatives, and fit item-kNN and
evaluate it on 1,000 sampled targets.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Job = Callable[[str, str, str], object]
"""Jobs by name: functions of the log, the output path and the memory limit."""
BLOCK = 1_000_000
EVENTS_A_USER = 30
STEPS = 20
"""Optimiser steps of the job `train`."""
START_S, SPAN_S = 1_600_000_000, 180 * 86_400


def write_log(path: Path, events: int, items: int, ids: str) -> None:
    """Write events in the order of time: users of very different activity, items by Zipf's law, ids as text or integers."""
    generator = np.random.default_rng(0)
    users = max(10, events // EVENTS_A_USER)
    weight = generator.pareto(1.5, size=users) + 0.2
    bounds = np.cumsum(weight) / weight.sum()
    writer = None
    for start in range(0, events, BLOCK):
        count = min(BLOCK, events - start)
        user = np.searchsorted(bounds, generator.random(count))
        span = (START_S + SPAN_S * start // events, START_S + SPAN_S * (start + count) // events)
        table = pa.table(
            {
                "user_id": _ids("user-", user, ids),
                "item_id": _ids("item-", generator.zipf(1.2, size=count) % items, ids),
                "timestamp": np.sort(generator.integers(*span, size=count)),
                "event_type": pa.array(["view", "cart", "buy"]).take(
                    pa.array(generator.choice(3, p=[0.9, 0.07, 0.03], size=count))
                ),
                "value": generator.random(count).astype(np.float32),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _ids(prefix: str, number: np.ndarray, ids: str) -> pa.Array:
    if ids == "integer":
        return pa.array(number)
    return pc.binary_join_element_wise(prefix, pa.array(number).cast(pa.string()), "")


def load_prepare() -> Job:
    from reprise.data.preparing.prepare import prepare

    return lambda log, out, memory_limit: prepare(log, out, memory_limit=memory_limit, progress=False)


def load_sort() -> Job:
    import duckdb

    def sort(log: str, out: str, memory_limit: str) -> None:
        connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": f"{out}.spill"})
        connection.execute(
            f"COPY (FROM '{log}' ORDER BY user_id, timestamp) TO '{out}.parquet' (FORMAT parquet)"
        )

    return sort


def load_open() -> Job:
    from reprise.data.dataset import SequenceDataset

    return lambda log, out, memory_limit: SequenceDataset.open(out)


def load_describe() -> Job:
    from reprise.data.dataset import SequenceDataset
    from reprise.data.description import describe

    return lambda log, out, memory_limit: str(describe(SequenceDataset.open(out)))


def load_leaks() -> Job:
    from reprise.data.dataset import SequenceDataset
    from reprise.data.leakage.checks import find_leaks

    return lambda log, out, memory_limit: find_leaks(SequenceDataset.open(out))


class _StopError(Exception):
    """Ends a training after its first steps."""


def load_train() -> Job:
    from reprise.data.dataset import SequenceDataset
    from reprise.models import Recurrent
    from reprise.training import SampledSoftmax, TrainingConfig, train
    from reprise.training.train_step import TrainStep

    def start(log: str, out: str, memory_limit: str) -> None:
        step, done = TrainStep.__call__, []

        def counted(self: TrainStep, *given: Any, **named: Any) -> Any:
            found = step(self, *given, **named)
            done.append(found)
            if len(done) == STEPS:
                raise _StopError
            return found

        TrainStep.__call__ = counted  # type: ignore[method-assign]
        with suppress(_StopError):
            model, training = Recurrent(size=64, sparse=True), TrainingConfig(loss=SampledSoftmax())
            train(model, SequenceDataset.open(out), f"{out}.run", training=training, progress=False)

    return start


def load_knn() -> Job:
    import reprise as rp
    from reprise.evaluation import EvaluationProtocol, TargetSample

    def evaluate(log: str, out: str, memory_limit: str) -> None:
        dataset = rp.SequenceDataset.open(out)
        protocol = EvaluationProtocol(sample=TargetSample(1000))
        rp.evaluate(rp.ItemKNN().fit(dataset), dataset, protocol=protocol)

    return evaluate


JOBS = {
    "prepare": load_prepare,
    "duckdb sort": load_sort,
    "open": load_open,
    "describe": load_describe,
    "leaks": load_leaks,
    "train": load_train,
    "knn": load_knn,
}


def peak_rss_mb() -> int:
    """Return the peak memory of this process alone; `getrusage` includes the parent process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def run(job: str, log: str, out: str, memory_limit: str) -> None:
    """Run the job in a separate process and print its cost."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    do = JOBS[job]()
    before_s, before_cpu_s = time.perf_counter(), time.process_time()
    do(log, out, memory_limit)
    took = {
        "wall_s": round(time.perf_counter() - before_s, 2),
        "cpu_s": round(time.process_time() - before_cpu_s, 2),
        "import_s": round(before_s - start_s, 2),
        "import_cpu_s": round(before_cpu_s - start_cpu_s, 2),
        "peak_rss_mb": peak_rss_mb(),
    }
    print(json.dumps(took))


def measure(job: str, log: Path, out: Path, memory_limit: str) -> dict[str, Any]:
    call = [sys.executable, __file__, "--job", job, str(log), str(out), memory_limit]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.splitlines()[-1]}
    took: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--items", type=float, default=2e5)
    parser.add_argument("--ids", choices=["text", "integer"], nargs="+", default=["text"])
    parser.add_argument("--memory-limit", nargs="+", default=["2GB", "300MB"])
    parser.add_argument("--jobs", choices=[*JOBS], nargs="+", default=["prepare", "duckdb sort"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run(*arguments.job)
        return
    results = []
    items = int(arguments.items)
    for events, ids in product(map(int, arguments.events), arguments.ids):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log.parquet"
            write_log(log, events, items, ids)
            for limit, job in product(arguments.memory_limit, arguments.jobs):
                load = os.getloadavg()[0]
                took = measure(job, log, Path(folder) / f"out-{limit}", limit)
                rate = {"events_per_s": round(events / took["wall_s"])} if "wall_s" in took else {}
                facts = {"job": job, "events": events, "items": items, "ids": ids, "memory_limit": limit}
                results.append({**facts, **rate, **took, "load": load})
                print(json.dumps(results[-1]), flush=True)
    if arguments.out:
        machine = {
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
        }
        arguments.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1))


if __name__ == "__main__":
    main()
