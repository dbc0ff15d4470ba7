"""Speed and memory of `prepare` on synthetic logs of any size.

python benchmarks/prepare.py --events 1e6 1e7 --memory-limit 2GB 300MB --out results.json

Each measurement is a separate process, so that its peak memory is its own. The same run also measures plain DuckDB,
under the same limit: sort the same file by user and time, and write it as Parquet.
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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Job = Callable[[str, str, str], object]
"""Jobs by name: functions of the log, the output path and the memory limit."""
BLOCK = 1_000_000
EVENTS_A_USER = 30
ITEMS = 200_000
START_S, SPAN_S = 1_600_000_000, 180 * 86_400


def write_log(path: Path, events: int) -> None:
    """Write events in the order of time: users of very different activity, items by Zipf's law, ids as text."""
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
                "user_id": _names("user-", user),
                "item_id": _names("item-", generator.zipf(1.2, size=count) % ITEMS),
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


def _names(prefix: str, number: np.ndarray) -> pa.Array:
    return pa.array(np.char.add(prefix, number.astype(str)).tolist())


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


JOBS = {"prepare": load_prepare, "duckdb sort": load_sort}


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


def measure(job: str, log: Path, memory_limit: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=log.parent) as folder:
        call = [sys.executable, __file__, "--job", job, str(log), f"{folder}/out", memory_limit]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
    took: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--memory-limit", nargs="+", default=["2GB", "300MB"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run(*arguments.job)
        return
    results = []
    for events in map(int, arguments.events):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log.parquet"
            write_log(log, events)
            for limit in arguments.memory_limit:
                for job in JOBS:
                    load = os.getloadavg()[0]
                    took = measure(job, log, limit)
                    rate = round(events / took["wall_s"])
                    results.append(
                        {
                            "job": job,
                            "events": events,
                            "memory_limit": limit,
                            "events_per_s": rate,
                            **took,
                            "load": load,
                        }
                    )
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
