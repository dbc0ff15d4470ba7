"""Memory of each cell: recall on toy logs whose next item is the item m events ago, and gradients across time.

    OMP_NUM_THREADS=1 python benchmarks/forgetting.py --out docs/pictures/forgetting.json --picture docs/pictures/forgetting.svg

Every network has one layer and gets about the same number of events, steps and epochs for every m. The picture needs
matplotlib: `pip install -e ".[bench]"`. `--drawn-from` draws an earlier result without training.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from drawing import Found, add_options, plotting, run, save

import reprise as rp
from reprise.data.dataset import Sizes
from reprise.models.networks.recurrent import CELLS, Recurrent
from reprise.testing import worlds
from reprise.training import RunOptions

ITEMS = 8
EVENTS = 32_768
"""Approximate events per log; a sequence has two periods of m events and twenty more."""
OPTIONS = RunOptions(precision="32-true", accelerator="cpu", threads=1)
STACKS = ("bare", "residual")
LOOKS = dict(zip(CELLS, ["o--", "s--", "^--", "o-", "s-", "^-", "v-"], strict=True))
"""Line styles: torch's cells are dashed, linear cells solid."""


def spec(cell: str, stack: str, size: int) -> Recurrent:
    """Return one layer without dropout, attention or co-occurrence, to measure the memory of the cell alone."""
    return Recurrent(
        cell=cell, size=size, layers=1, residual=stack == "residual", dropout=0.0, item_dropout=0.0, temperature=0.0,
        attention=0, cooccurrence=0, repeats=0,
    )  # fmt: skip


def recall(model: Recurrent, distance: int, epochs: int) -> float:
    """Return recall@1 on the test part after equal training; the validation part chooses the best epoch."""
    length = 2 * distance + 20
    dataset = worlds.memory(distance, items=ITEMS, sequences=EVENTS // length, length=length)
    config = rp.TrainingConfig(
        epochs=epochs,
        events_per_batch=1024,
        bptt_steps=256,
        learning_rate=0.01,
        metric="recall@1",
        patience=0,
        refit=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        trained = rp.train(model, dataset, folder, training=config, options=OPTIONS, progress=False)
    return rp.evaluate(trained, dataset, at=(1,)).metrics["recall@1"].value


def gradients(model: Recurrent, distances: list[int], rows: int = 64) -> list[float]:
    """Return the norm of d h_T / d x_{T - distance} before training, for inputs of unit variance, in float64.

    For a random v of unit variance the mean of |v J|^2 is the squared Frobenius norm of J; one v a row.
    """
    torch.manual_seed(1)
    encoder = model.build(Sizes(items=ITEMS)).encoder.double().eval()
    steps = max(distances) + 1
    x_BTD = torch.randn(rows, steps, model.size, dtype=torch.float64, requires_grad=True)
    valid_BT = torch.ones(rows, steps, dtype=torch.bool)
    last_BD = encoder(x_BTD, encoder.initial_state(rows), valid_BT).hidden_BTD[:, -1]
    (gradient_BTD,) = torch.autograd.grad((last_BD * torch.randn_like(last_BD)).sum(), x_BTD)
    norm_T = gradient_BTD.square().sum(-1).mean(0).sqrt()
    return [float(norm_T[steps - 1 - distance]) for distance in distances]


def measure(size: int, distances: list[int], epochs: int) -> Found:
    """Measure recall and gradients of every cell, bare and in residual blocks."""
    begun, across = time.process_time(), [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
    recalls: Found = {stack: {} for stack in STACKS}
    norms: Found = {stack: {} for stack in STACKS}
    for stack in STACKS:
        for cell in CELLS:
            model = spec(cell, stack, size)
            norms[stack][cell] = [float(f"{norm:.4g}") for norm in gradients(model, across)]
            recalls[stack][cell] = [round(recall(model, distance, epochs), 4) for distance in distances]
            print(stack, cell, recalls[stack][cell], f"{time.process_time() - begun:.0f} s", flush=True)
    return {
        "size": size, "items": ITEMS, "events": EVENTS, "epochs": epochs, "seed": OPTIONS.seed,
        "processor_s": round(time.process_time() - begun), "m": distances, "recall@1": recalls,
        "distance": across, "gradient": norms,
    }  # fmt: skip


def draw(found: Found, picture: Path) -> None:
    """Draw recall by m on the left and gradients by distance on the right; bare networks above, residual ones below."""
    pyplot = plotting("forgetting")
    figure, axes = pyplot.subplots(2, 2, figsize=(9.5, 6.8), sharex="col", layout="constrained")
    for (left, right), stack in zip(axes, STACKS, strict=True):
        for cell, look in LOOKS.items():
            left.plot(found["m"], found["recall@1"][stack][cell], look, label=cell, markersize=4)
            right.plot(found["distance"], found["gradient"][stack][cell], look, markersize=3)
        left.axhline(1 / found["items"], color="grey", linewidth=0.8, linestyle=":")
        left.set(ylabel=f"{stack}: recall@1", xscale="log", ylim=(0, 1.04))
        left.set_xticks(found["m"], [str(m) for m in found["m"]])
        left.minorticks_off()
        right.set(ylabel=f"{stack}: norm of the gradient", yscale="log", ylim=(1e-12, 1e2))
    axes[1, 0].set_xlabel("m: the next item is the one m events ago (dotted: chance)")
    axes[1, 1].set_xlabel("events between input and hidden state, before training")
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=len(LOOKS), frameon=False)
    save(figure, picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--distances", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    add_options(parser, "forgetting")
    options = parser.parse_args()
    run(options, lambda: measure(options.size, options.distances, options.epochs), draw)


if __name__ == "__main__":
    main()
