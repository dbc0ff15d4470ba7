"""Training cost by the number of events: seconds per epoch for longer histories and for more histories.

    OMP_NUM_THREADS=1 python benchmarks/linear.py --out linear.json --picture linear.svg

Events are random, the network is the default at width 128, time is processor time on one thread. An epoch of the
smallest log is trained first as a warm-up, because kernels are compiled once. The picture needs matplotlib: `pip
install -e ".[bench]"`.
"""

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from drawing import Found, add_options, plotting, run, save

import reprise as rp
from reprise.testing import worlds
from reprise.training import Recipe, RunOptions
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer

SEQUENCES, LENGTH, ITEMS, TOKENS = 500, 50, 1000, 2048
"""Smallest log; the batch size is equal for all."""
OPTIONS = RunOptions(accelerator="cpu", threads=1)


def seconds_of_epoch(sequences: int, length: int, size: int) -> Found:
    """Train one epoch on random events."""
    dataset = worlds.noise(ITEMS, sequences, length)
    recipe = Recipe(model=rp.Recurrent(size=size), training=rp.TrainingConfig(events_per_batch=TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, dataset, RunDirectory(Path(folder)), OPTIONS)
        begun = time.process_time()
        for chunk in trainer._plan(0):
            trainer._step(chunk)
            trainer.progress.step += 1
        seconds = time.process_time() - begun
    found = {"sequences": sequences, "length": length, "processor_s": round(seconds, 2)}
    print(json.dumps(found), flush=True)
    return found


def measured(doublings: int, size: int) -> Found:
    """Measure longer and more histories, by turns."""
    seconds_of_epoch(SEQUENCES, LENGTH, size)
    longer, more = [], []
    for factor in (2**doubling for doubling in range(doublings + 1)):
        longer.append(seconds_of_epoch(SEQUENCES, LENGTH * factor, size))
        more.append(seconds_of_epoch(SEQUENCES * factor, LENGTH, size))
    found = {"size": size, "longer": longer, "more": more}
    found["times a doubling"] = {
        name: round((rows[-1]["processor_s"] / rows[0]["processor_s"]) ** (1 / doublings), 2)
        for name, rows in (("longer", longer), ("more", more))
    }
    print(json.dumps(found["times a doubling"]), flush=True)
    return found


def draw(found: Found, picture: Path) -> None:
    """Draw seconds by events on logarithmic axes, with the cost per event of the smallest log as a line."""
    pyplot = plotting("linear")
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    labels = {
        "longer": f"longer histories ({SEQUENCES} sequences)",
        "more": f"more histories (of {LENGTH} events)",
    }
    for (name, label), mark in zip(labels.items(), "os", strict=True):
        events = [row["sequences"] * row["length"] for row in found[name]]
        axes.plot(events, [row["processor_s"] for row in found[name]], mark + "-", label=label)
    first = found["more"][0]["processor_s"]
    axes.plot(
        events, [first * count / events[0] for count in events], "k:", linewidth=1, label="twice for twice"
    )
    axes.set(xscale="log", yscale="log", xlabel="events", ylabel="processor seconds of an epoch")
    axes.set_xticks(events, [f"{count:,}" for count in events])
    top = math.ceil(math.log2(max(row["processor_s"] for row in found["longer"] + found["more"])))
    ticks = [2**power for power in range(top - len(events), top + 1)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.2)
    axes.legend(frameon=False)
    save(figure, picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--doublings", type=int, default=5)
    parser.add_argument("--size", type=int, default=128)
    add_options(parser, "linear")
    options = parser.parse_args()
    run(options, lambda: measured(options.doublings, options.size), draw)


if __name__ == "__main__":
    main()
