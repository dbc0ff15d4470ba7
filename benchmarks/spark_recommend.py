"""Users per second and core: `reprise recommend` on one core against Spark on two, with the same model and log.

    python benchmarks/spark_recommend.py MODEL [--users 40000] [--events 50]

Compared are the wall-clock times from an open log to written rows of all users. The command's side is `read_histories`,
`recommend_many` and a Parquet file in this process, with one thread. Spark's side is `recommend` and a Parquet directory
on `local[2]`, so its users per second are divided by two. Loading of the model and the start of Java are excluded by a
first call on a small log, and are printed separately. The sides take turns. Use an otherwise idle machine with two cores.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.data import read_events, read_histories
from reprise.data.io.result_files import RecommendationRow, RecommendationWriter
from reprise.data.io.spark_session import open_session
from reprise.recommender import Recommender
from reprise.spark import recommend

CORES, K = 2, 20


def write_log(path: Path, recommender: Recommender, users: int, events: int) -> None:
    """Write random histories of random lengths."""
    random = np.random.default_rng(0)
    user = random.integers(0, users, users * events)
    items = recommender.items.item_ids(random.integers(1, recommender.items.scored + 1, len(user)))
    times = 1_700_000_000 + random.permutation(len(user))
    pq.write_table(
        pa.table({"user_id": user, "item_id": items, "timestamp": times}), path, row_group_size=100_000
    )


def alone(recommender: Recommender, log: Path, out: Path) -> None:
    histories = read_histories(
        read_events(log), integer_items=recommender.items.integer_ids, rules=recommender.history_rules
    )
    with closing(histories), RecommendationWriter(out) as writer:
        for users, events in histories:
            for user, result in zip(users, recommender.recommend_many(events, K), strict=True):
                for item in result:
                    writer.add(RecommendationRow(user, item.rank, item.item_id, item.score, item.title))


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--users", type=int, default=40_000)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        recommender = Recommender.load(options.model)
        load_s = time.perf_counter() - start
        write_log(folder / "small.parquet", recommender, 100, 10)
        write_log(folder / "log.parquet", recommender, options.users, options.events)
        start = time.perf_counter()
        spark = open_session(f"local[{CORES}]")
        start_s = time.perf_counter() - start

        def on_spark(log: Path) -> None:
            answers = recommend(spark.read.parquet(str(log)), options.model, K)
            answers.write.mode("overwrite").parquet(str(folder / "spark"))

        first_s = timed(lambda: on_spark(folder / "small.parquet"))
        sides: dict[str, list[float]] = {"alone": [], "spark": []}
        for _ in range(options.rounds):
            sides["alone"].append(
                timed(lambda: alone(recommender, folder / "log.parquet", folder / "alone.parquet"))
            )
            sides["spark"].append(timed(lambda: on_spark(folder / "log.parquet")))
        equal = pq.read_table(folder / "alone.parquet").equals(
            pa.concat_tables(pq.read_table(part) for part in sorted((folder / "spark").glob("part-*"))).cast(
                pq.read_schema(folder / "alone.parquet")
            )
        )
        spark.stop()
    rates = [a / (s * CORES) for a, s in zip(sides["alone"], sides["spark"], strict=True)]
    print(
        json.dumps(
            {
                "users": options.users,
                "events": options.users * options.events,
                "rows_are_equal": equal,
                "model_load_s": round(load_s, 2),
                "java_start_s": round(start_s, 2),
                "first_call_s": round(first_s, 2),
                "seconds": {side: [round(one, 2) for one in found] for side, found in sides.items()},
                "users_per_s_core": {
                    "alone": [round(options.users / one) for one in sides["alone"]],
                    "spark": [round(options.users / one / CORES) for one in sides["spark"]],
                },
                "spark_to_alone": [round(one, 3) for one in rates],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
