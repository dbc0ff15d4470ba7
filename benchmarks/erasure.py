"""The cost of leaving erased users out of a dataset, and of pseudonyms: processor time and memory by size of the log.

Run: `OMP_NUM_THREADS=1 python benchmarks/erasure.py`.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BLOCK = 500_000
EVENTS_PER_USER = 10
ERASED = 0.1
"""Share of the users that are erased."""


def write_log(path: Path, rows: int) -> Path:
    """Write a log of random events with `EVENTS_PER_USER` events per user on average."""
    generator = np.random.default_rng(0)
    schema = pa.schema([(name, pa.int64()) for name in ("user_id", "item_id", "timestamp")])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            user = generator.integers(0, rows // EVENTS_PER_USER, count)
            item = generator.integers(0, 20_000, count)
            time_s = 1_700_000_000 + generator.integers(0, 60 * 86_400, count)
            writer.write_table(pa.table([user, item, time_s], schema=schema))
    return path


def measure(work: str, log: Path, rows: int) -> dict[str, Any]:
    """Do one work in a process of its own; return processor seconds and the highest memory in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (work, log, rows))


def _measure(work: str, log: Path, rows: int) -> dict[str, Any]:
    from reprise.data import ErasedUsers, prepare
    from reprise.privacy import PseudonymKey, pseudonymise

    with TemporaryDirectory() as folder:
        start_s = time.process_time()
        if work == "pseudonymise":
            pseudonymise(log, Path(folder) / "out.parquet", key=PseudonymKey(b"k" * 32), columns=["user_id"])
        else:
            count = int(ERASED * rows / EVENTS_PER_USER)
            forget = ErasedUsers.from_ids(range(count)) if work == "prepare without erased users" else None
            prepare(log, Path(folder) / "data", split="leave-one-out", forget=forget)
        seconds = time.process_time() - start_s
    return {"cpu_s": seconds, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for rows in arguments.rows:
            log = write_log(Path(folder) / "log.parquet", rows)
            works = ("pseudonymise", "prepare", "prepare without erased users")
            # in turns, because other programs use the machine too
            runs = [[measure(work, log, rows) for work in works] for _ in range(arguments.repeats)]
            medians = {
                work: {name: float(np.median([run[place][name] for run in runs])) for name in runs[0][place]}
                for place, work in enumerate(works)
            }
            ratios = [run[2]["cpu_s"] / run[1]["cpu_s"] for run in runs]
            found[str(rows)] = {**medians, "ratio of prepare": float(np.median(ratios))}
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
