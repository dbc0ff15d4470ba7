"""Losses over large catalogues: the full softmax compared with its matrix products, the sampled one by catalogue size.

    OMP_NUM_THREADS=1 python benchmarks/softmax.py

Everything is measured in one run, in turns, in processor seconds of this process: compare the ratios, not the times.
"""

import argparse
import json
import os
import resource
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn
from training import in_turns

from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training import TrainingConfig
from reprise.training.losses.chunked_softmax import chunk_shape
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import SampledSoftmax
from reprise.training.optimizer import Optimizer

LOW = torch.bfloat16


def products(query_ND: Tensor, vectors_ID: Tensor) -> None:
    """Compute only the three matrix products of a softmax and its gradients, in the shapes of `FullSoftmax`."""
    rows, width = chunk_shape(len(query_ND), len(vectors_ID), LOW.itemsize, query_ND.device)
    s_RJ = torch.empty(rows * width, dtype=LOW)
    for q_RD in query_ND.split(rows):
        for v_JD in vectors_ID.split(width):
            out_RJ = s_RJ[: len(q_RD) * len(v_JD)].view(len(q_RD), len(v_JD))
            torch.mm(q_RD, v_JD.t(), out=out_RJ)
            out_RJ @ v_JD
            out_RJ.t() @ q_RD


def full(items: int, targets: int, size: int, rounds: int) -> dict[str, float]:
    """Run forward and backward with bfloat16 products, and return the peak memory of the process."""
    table, loss = ItemEmbeddings(items, size), FullSoftmax()
    query_ND = torch.randn(targets, size, requires_grad=True)
    target_N = torch.randint(1, items + 1, (targets,))
    low_ND, low_ID = query_ND.detach().to(LOW), table.vectors_ID.detach().to(LOW)

    def learn() -> None:
        with torch.autocast("cpu", LOW):
            total = loss(query_ND, table, target_N)
        total.backward()
        table.weight.grad = None

    best = in_turns({"loss": learn, "products": lambda: products(low_ND, low_ID)}, rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "loss_ms": best["loss"],
        "products_ms": best["products"],
        "times its products": round(best["loss"] / best["products"], 2),
        "peak_GiB": round(peak, 2),
    }


class Shop(nn.Module):
    """A minimal network: a sparse item table and a layer."""

    def __init__(self, items: int, size: int) -> None:
        super().__init__()
        self.items = ItemEmbeddings(items, size, sparse=True)
        self.layer = nn.Linear(size, size)


def sampled_step(items: int, targets: int, size: int) -> Callable[[], None]:
    """Run a whole step: negatives, forward, backward, norm, optimiser."""
    model, loss = Shop(items, size), SampledSoftmax(Negatives(count=2048))
    optimizer = Optimizer(model, TrainingConfig())
    sampler = loss.negatives.sampler(torch.arange(items, 0, -1))

    def step() -> None:
        item_N, target_N = torch.randint(1, items + 1, (2, targets))
        sample = sampler.draw()
        with optimizer.reading(item_N, target_N, sample.item_K), torch.autocast("cpu", LOW):
            total = loss(model.layer(model.items(item_N)), model.items, target_N, sample)
        optimizer.zero_grad()
        (total / targets).backward()
        optimizer.clip(1.0)
        optimizer.step(1e-3)

    step()
    for moment in optimizer.slots(model.items.weight).values():
        # memory is allocated at the first write, which the first step of a row would pay for
        moment.mul_(1)
    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=500_000)
    parser.add_argument("--targets", type=int, default=6400)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, object] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    found[f"full softmax, {options.items} items"] = full(
        options.items, options.targets, options.size, options.rounds
    )
    sizes = (100_000, 1_000_000)
    steps = {str(items): sampled_step(items, options.targets, options.size) for items in sizes}
    milliseconds = in_turns(steps, 5 * options.rounds)
    found["a step of sampled softmax, milliseconds by items"] = milliseconds
    found["a million items over a hundred thousand"] = round(
        milliseconds["1000000"] / milliseconds["100000"], 2
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
