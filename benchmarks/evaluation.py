"""What full ranking costs beside its bare matrix product, and what lists, probabilities and intervals add.

    python benchmarks/evaluation.py [--targets 100000] [--items 20000] [--width 128] [--rounds 3]

Random vectors, one thread, the best of some rounds, everything in one run. Prints JSON; times are processor
seconds, which a busy machine changes little.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from reprise.evaluation.calibration import probabilities
from reprise.evaluation.intervals import Bootstrap
from reprise.evaluation.lists import Exposure
from reprise.evaluation.ranks import VectorScores, rank

BATCH = 4096
"""Targets ranked in one call, about as many as a batch of an evaluation holds."""
AT = (10, 20)
METRICS = 8
SEQUENCES = 1_000_000
RESAMPLES = 20


def best_s(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
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


def ranking(
    query_ND: torch.Tensor, vector_ID: torch.Tensor, target_N: torch.Tensor, lists: bool, softmax: bool
) -> None:
    """Ranks of all targets, batch by batch; and what they show, and how sure the scores are, if asked."""
    exposure = Exposure(torch.ones(len(vector_ID), dtype=torch.float64), AT, torch.device("cpu"))
    for query_BD, target_B in zip(query_ND.split(BATCH), target_N.split(BATCH), strict=True):
        done = 0

        def watch(s_CI: torch.Tensor, target_B: torch.Tensor = target_B) -> None:
            nonlocal done
            if lists:
                exposure.add(s_CI)
            if softmax:
                probabilities(s_CI, target_B[done : done + len(s_CI)])
            done += len(s_CI)

        rank(VectorScores(query_BD, vector_ID), target_B, watch=watch if lists or softmax else None)


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
    works["ranks"] = partial(ranking, query_ND, vector_ID, target_N, False, False)
    works["ranks and lists"] = partial(ranking, query_ND, vector_ID, target_N, True, False)
    works["ranks and probabilities"] = partial(ranking, query_ND, vector_ID, target_N, False, True)
    seconds = best_s(works, options.rounds)
    # the fairest rival is the product at its own best chunk
    bare = min(value for name, value in seconds.items() if name.startswith("product"))
    bootstrap = best_s({"bootstrap": lambda: Bootstrap(RESAMPLES).intervals(sums, counts)}, options.rounds)
    found = {
        **{name: getattr(options, name) for name in ("targets", "items", "width")},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "ranks to product": round(seconds["ranks"] / bare, 2),
        "ranks and lists to ranks": round(seconds["ranks and lists"] / seconds["ranks"], 2),
        "ranks and probabilities to ranks": round(seconds["ranks and probabilities"] / seconds["ranks"], 2),
        "bootstrap of a million sequences, seconds a resample": round(bootstrap["bootstrap"] / RESAMPLES, 4),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
