"""What full ranking costs beside its bare matrix product, and what coverage and intervals add.

    python benchmarks/evaluation.py [--targets 100000] [--items 20000] [--width 128] [--rounds 3]

Random vectors, one thread, the best of some rounds, everything in one run. Prints JSON; times in seconds.
"""

import argparse
import json
import time
from collections.abc import Callable

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
RESAMPLES = 10


def best_s(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


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
    # the fairest rival is the product at its own best chunk
    bare = {
        rows: best_s(lambda r=rows: product(query_ND, vector_ID, r), options.rounds)
        for rows in (64, 256, 1024)
    }
    ranked = best_s(lambda: ranking(query_ND, vector_ID, target_N, False), options.rounds)
    covered = best_s(lambda: ranking(query_ND, vector_ID, target_N, True), options.rounds)
    sums = np.random.default_rng(0).random((SEQUENCES, METRICS))
    bootstrap = best_s(lambda: Bootstrap(resamples=RESAMPLES).intervals(sums, np.ones(SEQUENCES)), 1)
    found = {
        **{name: getattr(options, name) for name in ("targets", "items", "width")},
        "product_s": {str(rows): round(seconds, 2) for rows, seconds in bare.items()},
        "ranks_s": round(ranked, 2),
        "ranks_and_coverage_s": round(covered, 2),
        "ranks_to_product": round(ranked / min(bare.values()), 2),
        "ranks_and_coverage_to_product": round(covered / min(bare.values()), 2),
        "bootstrap_s_per_resample_of_a_million_sequences": round(bootstrap / RESAMPLES, 3),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
