"""Training speed: the scan compared with nn.GRU, and events per second of each cell or of a recipe on a prepared log.

    OMP_NUM_THREADS=1 python benchmarks/training.py --dataset data/ml-1m
    OMP_NUM_THREADS=1 python benchmarks/training.py --dataset data/ml-1m --recipe recipes/ml-1m.toml --set model.size=128

With a recipe: the events per second, and how many times as long a step takes as its matrix products alone, which are
recorded and repeated with nothing between them.

Everything is measured in one run, in turns, in processor seconds of this process: compare the ratios, not the times.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reprise.cli.commands.train import read_recipe
from reprise.data.batching import RowSegments
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


class ProductRecorder(TorchDispatchMode):
    """Records the factors of all matrix products: their shapes, strides and types."""

    PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[list[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().removeprefix("aten::").partition(".")[0] in self.PRODUCTS:
            # the last two tensors: `addmm` begins with the matrix that is added
            tensors = [arg for arg in args if isinstance(arg, Tensor)][-2:]
            self.factors.append([torch.empty_like(tensor).copy_(tensor) for tensor in tensors])
        return func(*args, **(kwargs or {}))

    def repeat(self) -> None:
        """Compute the recorded products again."""
        for left, right in self.factors:
            torch.matmul(left, right)


def product_multiple(recipe: Recipe, dataset: SequenceDataset, steps: int, rounds: int) -> dict[str, float]:
    """Measure a recipe: targets per second, and the time of a step as a multiple of its products alone.

    In each round some steps are timed, then one more is recorded and its products are timed, so that other load affects
    both alike.
    """
    options = RunOptions(accelerator="cpu", threads=torch.get_num_threads())
    events, step_s, product_events, product_s = 0, 0.0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, dataset, RunDirectory(Path(folder)), options)

        def all_chunks() -> Iterator[RowSegments]:
            for epoch in itertools.count():
                trainer.progress.epoch, trainer.train_step.state = epoch, None
                yield from trainer._plan(epoch)

        chunks = all_chunks()

        def train(count: int) -> int:
            trainer.model.train()
            targets = 0
            for chunk in itertools.islice(chunks, count):
                targets += trainer._step(chunk)[1]
                trainer.progress.step += 1
            return targets

        train(steps)
        for _ in range(rounds):
            begun = time.process_time()
            events += train(steps)
            step_s += time.process_time() - begun
            with ProductRecorder() as recorder:
                product_events += train(1)
            recorder.repeat()
            begun = time.process_time()
            recorder.repeat()
            product_s += time.process_time() - begun
    floor_s = product_s / product_events
    return {
        "events/s": round(events / step_s),
        "events/s of the products alone": round(1 / floor_s),
        "multiple of the products": round(step_s / events / floor_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, help="prepared log (default: measure only the recurrence)")
    parser.add_argument("--recipe", type=Path, help="measure this recipe only")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="recipe fields; implies --recipe"
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--compile", action="store_true", help="also measure rglru with torch.compile; needs gcc and minutes"
    )
    options = parser.parse_args()
    if options.recipe or options.set:
        recipe = read_recipe(options.recipe, options.set)
        dataset = SequenceDataset.open(options.dataset)
        print(json.dumps(product_multiple(recipe, dataset, options.steps, options.rounds), indent=2))
        return
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
