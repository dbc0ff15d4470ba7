"""What full ranking costs beside its bare matrix product, and what coverage and intervals add.

    python benchmarks/evaluation.py [--targets 100000] [--items 20000] [--width 128] [--rounds 3]

Random vectors, one thread, the best of some rounds, everything in one run. Prints JSON; times are processor
seconds, which a busy machine changes little.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from reprise.evaluation.coverage import Coverage
from reprise.evaluation.intervals import Bootstrap
from reprise.evaluation.ranks import VectorScores, rank

BATCH = 4096
"""Targets ranked in one call, about as many as a batch of an evaluation holds."""
AT = (10, 20)
METRICS = 8
SEQUENCES = 1_000_000
RESAMPLES = 20
Name = TypeVar("Name", str, tuple[str, str])


def best_s(works: dict[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Processor seconds of the fastest round of each; the rounds take turns, so that all meet the same neighbours."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - start)
    return best


def product(query_ND: torch.Tensor, vector_ID: torch.Tensor, rows: int) -> None:
    """The bare product, in chunks of `rows` into one piece of memory."""
    room_CI = torch.empty(rows, len(vector_ID))
    for query_CD in query_ND.split(rows):
        torch.mm(query_CD, vector_ID.T, out=room_CI[: len(query_CD)])


def ranking(query_ND: torch.Tensor, vector_ID: torch.Tensor, target_N: torch.Tensor, coverage: bool) -> None:
    """Ranks of all targets, batch by batch."""
    watch = Coverage(len(vector_ID), AT, torch.device("cpu")) if coverage else None
    for query_BD, target_B in zip(query_ND.split(BATCH), target_N.split(BATCH), strict=True):
        rank(VectorScores(query_BD, vector_ID), target_B, watch=watch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("targets", 100_000), ("items", 20_000), ("width", 128), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    query_ND = torch.randn(options.targets, options.width, generator=generator)
    vector_ID = torch.randn(options.items, options.width, generator=generator)
    target_N = torch.randint(1, options.items + 1, (options.targets,), generator=generator)
    sums, counts = np.random.default_rng(0).random((SEQUENCES, METRICS)), np.ones(SEQUENCES)
    works: dict[str, Callable[[], object]] = {
        f"product in chunks of {rows}": partial(product, query_ND, vector_ID, rows)
        for rows in (64, 256, 1024)
    }
    works["ranks"] = partial(ranking, query_ND, vector_ID, target_N, False)
    works["ranks and coverage"] = partial(ranking, query_ND, vector_ID, target_N, True)
    seconds = best_s(works, options.rounds)
    # the fairest rival is the product at its own best chunk
    bare = min(value for name, value in seconds.items() if name.startswith("product"))
    bootstrap = best_s({"bootstrap": lambda: Bootstrap(RESAMPLES).intervals(sums, counts)}, options.rounds)
    found = {
        **{name: getattr(options, name) for name in ("targets", "items", "width")},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "ranks to product": round(seconds["ranks"] / bare, 2),
        "ranks and coverage to product": round(seconds["ranks and coverage"] / bare, 2),
        "bootstrap of a million sequences, seconds a resample": round(bootstrap["bootstrap"] / RESAMPLES, 4),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
