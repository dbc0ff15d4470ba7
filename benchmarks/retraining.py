"""Retraining from the run of the week before, compared with training from scratch, week by week on logs with times.

    OMP_NUM_THREADS=1 python benchmarks/retraining.py retail=events.parquet clicks=clicks.parquet --out retraining.json

Each log ends several times, a week apart. On each end both ways train the recipe of the first run and are judged on the same
last days by the test part. Time is that of the processor, on one thread; the corrections and the refit are included.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pyarrow.compute as pc
import pyarrow.dataset as ds

import reprise as rp
from reprise.retraining import Gate, prepare_as_before, retrain
from reprise.training import RunOptions

WEEK_S = 7 * 86_400
OPTIONS = RunOptions(accelerator="cpu", threads=1)
Found = dict[str, Any]


def measure(
    name: str, path: str, folder: Path, weeks: int, days: int, training: rp.TrainingConfig, size: int
) -> list[Found]:
    """Measure one log: a row for each week."""
    table = ds.dataset(path).to_table()
    time_name = next(column for column in ("timestamp", "time") if column in table.column_names)
    last_s = pc.max(table[time_name]).as_py()
    ends = [last_s - week * WEEK_S for week in range(weeks, -1, -1)]

    def until(end_s: int) -> Any:
        return table.filter(pc.less_equal(table[time_name], end_s))

    split = f"last:{days}d,{days}d"
    before = rp.prepare(rp.read_events(until(ends[0])), folder / name / "data-0", split=split, progress=False)
    earlier = folder / name / "run-0"
    rp.train(
        rp.Recurrent(size=size, layers=1), before, earlier, training=training, options=OPTIONS, progress=False
    )
    rows = []
    for week, end_s in enumerate(ends[1:], start=1):
        data = prepare_as_before(until(end_s), folder / name / f"data-{week}", before, progress=False)
        row: Found = {"log": name, "week": week, "items": data.items.warm}
        for way, scratch in (("warm", False), ("scratch", True)):
            begun = time.process_time()
            out = folder / name / f"{way}-{week}"
            result = retrain(
                earlier, data, out, gate=Gate("ndcg@20"), options=OPTIONS, from_scratch=scratch, progress=False,
                training=training if scratch else None,
            )  # fmt: skip
            row[f"{way}_s"] = round(time.process_time() - begun, 1)
            row[way], row["before"] = round(result.gate.new, 4), round(result.gate.old, 4)
            if result.start is not None:
                row["new_items"] = result.start.new_items
        row["time"] = round(row["warm_s"] / row["scratch_s"], 2)
        print(json.dumps(row), flush=True)
        rows.append(row)
        before, earlier = data, folder / name / f"warm-{week}"
    return rows


def main() -> None:
    """Read the options and measure every log."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "logs", nargs="+", metavar="NAME=FILE", help="Parquet file of a log with times in seconds"
    )
    parser.add_argument("--weeks", type=int, default=3, help="number of weeks")
    parser.add_argument(
        "--days", type=int, default=7, help="days of the validation part and of the test part"
    )
    parser.add_argument("--epochs", type=int, default=6, help="epochs from scratch")
    parser.add_argument("--size", type=int, default=32, help="width of the network")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    given = parser.parse_args()
    training = rp.TrainingConfig(epochs=given.epochs)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for log in given.logs:
            name, _, path = log.partition("=")
            found += measure(name, path, Path(folder), given.weeks, given.days, training, given.size)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
