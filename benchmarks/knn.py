"""How many queries a second the scorers without gradients answer on one core.

    OMP_NUM_THREADS=1 python benchmarks/knn.py DATASET [--at 20] [--min-history 1] [--queries 10000] [--rounds 3] [--batch 256]

A query is one target of the test part with the history before it. Its window of last items is given as a table of numbers;
what is timed goes from there to the `--at` best items, the scores of all items included. Once in batches, and once one at a
time, as a server asks. Fitting is timed apart. Processor seconds of the fastest of some rounds, the scorers taking turns.
Prints JSON.
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
from reprise.evaluation.ranking.targets import EvaluationPlan, questions
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
"""Queries that are asked one at a time."""
Name = tuple[str, str]


def best_s(works: dict[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Processor seconds of the fastest round of each; the rounds take turns, so that all meet the same neighbours."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - start)
    return best


class Asked(WindowScorer):
    """A scorer that keeps what it is asked: the windows of a part."""

    def __init__(self, window: int, items: int) -> None:
        super().__init__("windows", window)
        self.items = items
        self.recent: list[Tensor] = []

    def count(self, dataset: rp.SequenceDataset, before: object) -> None:
        """Nothing is counted."""

    def after(self, recent_NW: Tensor) -> Tensor:
        self.recent.append(recent_NW)
        return torch.zeros(len(recent_NW), self.items)


def asked(dataset: rp.SequenceDataset, window: int, options: argparse.Namespace) -> Tensor:
    """The windows before the targets of the test part, the first `--queries` in a random order."""
    ears = Asked(window, dataset.items.warm)
    walk = EvaluationPlan("test", min_history=options.min_history, progress=False)
    for _ in questions(ears, dataset, walk):
        pass
    recent_NW = torch.cat(ears.recent)
    order_N = torch.randperm(len(recent_NW), generator=torch.Generator().manual_seed(0))
    return recent_NW[order_N[: options.queries]]


def answer(scorer: WindowScorer, recent_NW: Tensor, batch: int, at: int) -> None:
    for recent_BW in recent_NW.split(batch):
        scorer.after(recent_BW).topk(at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", type=Path, help="A baseline recipe, measured too.")
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
        recent_NW = asked(dataset, scorer.window, options)
        works[scorer.name, "in batches"] = (
            len(recent_NW),
            partial(answer, scorer, recent_NW, options.batch, options.at),
        )
        alone_NW = recent_NW[:ALONE]
        works[scorer.name, "one at a time"] = len(alone_NW), partial(answer, scorer, alone_NW, 1, options.at)
    seconds = best_s({key: work for key, (_, work) in works.items()}, options.rounds)
    for (name, how), (queries, _) in works.items():
        found[name][f"queries a second, {how}"] = round(queries / seconds[name, how])
    told = {"items": dataset.items.warm, "queries": len(recent_NW), "at": options.at, "batch": options.batch}
    print(json.dumps({**told, "scorers": found}, indent=2))


if __name__ == "__main__":
    main()
