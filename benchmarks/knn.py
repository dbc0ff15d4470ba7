"""Queries per second of the models without gradients, on one core.

    OMP_NUM_THREADS=1 python benchmarks/knn.py DATASET [--at 20] [--min-history 1] [--queries 10000] [--rounds 3] [--batch 256]

A query is one target of the test part with its history. Measured is the time from its window of last items, a table
of numbers, to the best `--at` items, including the scores of all items: in batches, and one at a time, as a server
does. Fitting is timed separately. Processor seconds of the fastest round; the scorers alternate. Prints JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import reprise as rp
from reprise.config import from_dict, load_toml
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import score_batches
from reprise.models.baselines.window_scorer import WindowScorer
from reprise.models.scorer import Fittable

SPECS: list[Fittable] = [
    rp.SessionPopularity(),
    rp.Markov(),
    rp.Cooccurrence(),
    rp.ItemKNN(),
    rp.SessionKNN(),
]
ALONE = 1000
"""Queries sent one at a time."""
Name = tuple[str, str]


def best_s(works: dict[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Return processor seconds of the fastest round of each. Rounds alternate, so that all see the same load of the machine."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - start)
    return best


class WindowRecorder(WindowScorer):
    """A scorer that records the windows it is called with."""

    def __init__(self, window: int, items: int) -> None:
        super().__init__("windows", window)
        self.items = items
        self.recent: list[Tensor] = []

    def count_events(self, dataset: rp.SequenceDataset, before: object) -> None:
        """Count nothing."""

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        self.recent.append(recent_NW)
        return torch.zeros(len(recent_NW), self.items)


def test_windows(dataset: rp.SequenceDataset, window: int, options: argparse.Namespace) -> Tensor:
    """Return the windows before test targets, the first `--queries` in random order."""
    recorder = WindowRecorder(window, dataset.items.warm)
    protocol = EvaluationProtocol("test", min_history=options.min_history)
    for _ in score_batches(recorder, dataset, protocol, QUICK):
        pass
    recent_NW = torch.cat(recorder.recent)
    order_N = torch.randperm(len(recent_NW), generator=torch.Generator().manual_seed(0))
    return recent_NW[order_N[: options.queries]]


def answer(scorer: WindowScorer, recent_NW: Tensor, batch: int, at: int) -> None:
    for recent_BW in recent_NW.split(batch):
        scorer.score_windows(recent_BW).topk(at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", type=Path, help="baseline recipe to measure as well")
    for name, default in (("at", 20), ("min-history", 1), ("queries", 10_000), ("rounds", 3), ("batch", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = rp.SequenceDataset.open(options.dataset)
    specs = SPECS + ([from_dict(load_toml(options.recipe)["model"])] if options.recipe else [])
    found: dict[str, dict[str, float]] = {}
    works = {}
    for spec in specs:
        start = time.process_time()
        scorer = spec.fit(dataset)
        found[scorer.name] = {"fit_s": round(time.process_time() - start, 2)}
        assert isinstance(scorer, WindowScorer)
        recent_NW = test_windows(dataset, scorer.window, options)
        works[scorer.name, "in batches"] = (
            len(recent_NW),
            partial(answer, scorer, recent_NW, options.batch, options.at),
        )
        alone_NW = recent_NW[:ALONE]
        works[scorer.name, "one at a time"] = len(alone_NW), partial(answer, scorer, alone_NW, 1, options.at)
    seconds = best_s({key: work for key, (_, work) in works.items()}, options.rounds)
    for (name, how), (queries, _) in works.items():
        found[name][f"queries a second, {how}"] = round(queries / seconds[name, how])
    result = {
        "items": dataset.items.warm,
        "queries": len(recent_NW),
        "at": options.at,
        "batch": options.batch,
    }
    print(json.dumps({**result, "scorers": found}, indent=2))


if __name__ == "__main__":
    main()
