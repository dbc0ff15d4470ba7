"""Training speed: the scan compared with nn.GRU, and events per second of each cell on a prepared log.

    OMP_NUM_THREADS=1 python benchmarks/training.py --dataset data/ml-1m

Everything is measured in one run, in turns, in processor seconds of this process: compare the ratios, not the times.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.recurrent import CELLS, Recurrent
from reprise.nn.cells import Cell
from reprise.nn.linear_scan import scan
from reprise.training import Recipe, RunOptions
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer


def in_turns(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return the fastest round of each, in milliseconds of processor time."""
    best = dict.fromkeys(works, float("inf"))
    for number in range(rounds + 1):
        for name, work in works.items():
            begun = time.process_time()
            work()
            # the first round is the warm-up
            if number:
                best[name] = min(best[name], 1000 * (time.process_time() - begun))
    return {name: round(value, 2) for name, value in best.items()}


def recurrences(rows: int, steps: int, size: int, rounds: int) -> dict[str, float]:
    """Measure forward and backward of one layer, batch-first, in float32."""
    a, b = (torch.rand(rows, steps, size, requires_grad=True) for _ in range(2))
    h = torch.zeros(rows, size)
    x = torch.randn(rows, steps, size, requires_grad=True)
    valid = torch.ones(rows, steps, dtype=torch.bool)

    def run_scan() -> None:
        scan(a, b, h).sum().backward()

    def layer(cell: Cell) -> Callable[[], None]:
        return lambda: cell.scan(x, cell.initial_state(rows), valid)[0].sum().backward()

    gru = nn.GRU(size, size, batch_first=True)
    works: dict[str, Callable[[], None]] = {
        "nn.GRU": lambda: gru(x)[0].sum().backward(),
        "scan": run_scan,
        **{f"{name} layer": layer(make(size)) for name, make in CELLS.items()},
    }
    low = {f"{name} bf16": _in_bf16(work) for name, work in works.items() if name != "scan"}
    return in_turns(works | low, rounds)


def _in_bf16(work: Callable[[], None]) -> Callable[[], None]:
    """Wrap the work so that its matrix products run in bfloat16, as in training if the processor supports it."""

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            work()

    return run


def shapes(rounds: int) -> dict[str, float]:
    """Measure one bfloat16 product of a known shape and of new shapes, in milliseconds each."""
    weight = torch.randn(512, 128).bfloat16()

    def products(rows: list[int]) -> float:
        inputs = [torch.randn(count, 128).bfloat16() for count in rows]
        begun = time.process_time()
        for x in inputs:
            nn.functional.linear(x, weight)
        return 1000 * (time.process_time() - begun) / len(rows)

    products([4096] * rounds)
    return {
        "known shape": round(products([4096] * rounds), 2),
        "new shapes": round(products(list(range(4096 - rounds, 4096))), 2),
    }


def events_per_s(
    cell: str, size: int, dataset: SequenceDataset, steps: int, precision: str, *, compiled: bool = False
) -> float:
    """Return targets per second of processor time over `steps` optimiser steps, after as many for warm-up."""
    options = RunOptions(precision=precision, accelerator="cpu", threads=torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(model=Recurrent(cell=cell, size=size))
        trainer = Trainer(recipe, dataset, RunDirectory(Path(folder)), options)
        if compiled:
            trainer.model.forward = torch.compile(trainer.model.forward)
        targets, begun = 0, 0.0
        for number, chunk in zip(range(2 * steps), trainer._plan(0), strict=False):
            if number == steps:
                targets, begun = 0, time.process_time()
            targets += trainer._step(chunk)[1]
            trainer.progress.step += 1
    return round(targets / (time.process_time() - begun))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, help="prepared log (default: measure only the recurrence)")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--compile", action="store_true", help="also measure rglru with torch.compile; needs gcc and minutes"
    )
    options = parser.parse_args()
    found: dict[str, object] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    shape = f"B 128, T 50, D {options.size}, milliseconds"
    found[shape] = times = recurrences(128, 50, options.size, options.rounds)
    found["times faster than nn.GRU"] = {
        name: round(times["nn.GRU"] / value, 1) for name, value in times.items()
    }
    found["4096 x 128 x 512 in bf16, milliseconds"] = shapes(options.rounds * 5)
    if options.dataset:
        dataset = SequenceDataset.open(options.dataset)
        found["events/s"] = {
            f"{cell} {precision}": events_per_s(cell, options.size, dataset, options.steps, precision)
            for precision in ("32-true", "bf16-mixed")
            for cell in CELLS
        }
        if options.compile:
            works = {"as it is": False, "under torch.compile": True}
            found["rglru in bf16, events/s"] = {
                name: events_per_s(
                    "rglru", options.size, dataset, options.steps, "bf16-mixed", compiled=compiled
                )
                for name, compiled in works.items()
            }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
