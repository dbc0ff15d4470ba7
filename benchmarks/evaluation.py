"""Cost of an evaluation over all items, compared with its plain matrix product.

    python benchmarks/evaluation.py [--targets 50000] [--items 100000] [--width 128] [--threads 2] [--rounds 2] [--seen]
                                    [--window 50]
    python benchmarks/evaluation.py --sample 1000 [--targets 1000000] [--items 1000000] [--width 128] [--threads 1]

A synthetic log and random vectors whose queries cost nothing, so only the evaluation itself is measured: ranks,
metrics, sums, intervals and the report, without and with top-k lists, and all of it again with the mixture of a repeat
head over a window of items. The plain product runs on some of the targets
before each round and after the last, each time with the tilings of WAYS, and its best time is scaled to all targets.
Prints JSON. `ratio` is of the fastest rounds in processor seconds over all threads, which depend less on other load
than wall-clock time; the ratio of wall-clock time is of the medians. With `--sample` only this number of the targets is
evaluated, with the vectors and by popularity, and the result is the processor time of each and the peak memory.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

import reprise as rp
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD, Vocabulary
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.stats.target_sample import TargetSample
from reprise.models.batch import Batch, Event
from reprise.models.corrections.repeat_mixture import RepeatMixture
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.nn.cells import State

TARGETS = 10
"""Events per sequence."""
SAMPLE = 10_000
"""Targets of one plain product."""
WAYS = ((512, 512), (1024, 512), (256, 1024))
"""(rows, columns) of the tiles of a plain product: the fastest ones. Whole rows are slower because they exceed the cache."""
AT = (10, 20)


class Vectors:
    """A `VectorScorer` without a network: random item vectors, and a random query for each last item."""

    name = "random vectors"

    def __init__(self, items: int, width: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.query_ID = torch.randn(items + 1, width, generator=generator)
        self.vector_ID = torch.randn(items, width, generator=generator)
        self.window = 0

    def initial_state(self, batch: int) -> State:
        return {"last": torch.zeros(batch, dtype=torch.int64)}

    def advance(self, state: State, event: Event) -> State:
        return {"last": torch.where(event.item == PAD, state["last"], event.item)}

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        return self.query_ID[state["last"]]

    def corrections(self, state: State) -> ScoreCorrections:
        raise NotImplementedError

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        return self.query(state) @ self.vector_ID.T

    def query_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, ScoreCorrections, State]:
        query_ND = self.query_ID[batch.item_BT[batch.target_BT != PAD]]
        return query_ND, ScoreCorrections(repeats=self.mixture(len(query_ND)) if self.window else None), {}

    def mixture(self, targets: int) -> RepeatMixture:
        """Return a mixture for windows of different items."""
        first_N1 = torch.arange(targets).unsqueeze(1)
        item_NW = 1 + (first_N1 + torch.arange(self.window)) % len(self.vector_ID)
        scalars = (torch.tensor(value) for value in (0.3, 1.0, -1.0))
        return RepeatMixture(item_NW, torch.zeros(item_NW.shape), torch.zeros(targets), *scalars)

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        query_ND, _, after = self.query_batch(batch, state)
        return query_ND @ self.vector_ID.T, after

    def item_vectors(self) -> Tensor:
        return self.vector_ID


def random_log(targets: int, items: int, seed: int = 0) -> SequenceDataset:
    """Return sequences of one training and ten test events, a minute apart, of random items."""
    sequences, length = -(-targets // TARGETS), TARGETS + 1
    offset = np.arange(sequences + 1) * length
    events = sequences * length
    return SequenceDataset(
        items=Vocabulary(np.arange(1, items + 1), warm=items),
        users=np.arange(sequences),
        offset=offset,
        train_end=offset[:-1] + 1,
        valid_end=offset[:-1] + 1,
        item=np.random.default_rng(seed).integers(1, items + 1, events, dtype=np.int32),
        time_ms=np.arange(events, dtype=np.int64) * 60_000,
        kind=np.zeros(events, dtype=np.uint8),
        value=np.full(events, np.nan, dtype=np.float32),
        table=pa.table({"item_id": np.arange(1, items + 1), "count": np.ones(items, dtype=np.int64)}),
        fingerprint=f"random {targets} {items} {seed}",
    )


def product(model: Vectors, rows: int, columns: int) -> None:
    """Compute the plain product of some queries and all items, in tiles, into one buffer."""
    query_ND = model.query_ID[torch.arange(SAMPLE) % len(model.query_ID)]
    room = torch.empty(rows * columns)
    for query_CD in query_ND.split(rows):
        for vector_TD in model.vector_ID.split(columns):
            s_CT = room[: len(query_CD) * len(vector_TD)].view(len(query_CD), len(vector_TD))
            torch.mm(query_CD, vector_TD.T, out=s_CT)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return processor seconds over all threads, and wall-clock seconds."""
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def measured(
    model: Vectors, dataset: SequenceDataset, rounds: int, seen: bool, window: int
) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds of all candidates in every round. Rounds alternate, so that all see the same load of the machine."""

    def work(lists: bool, used: int) -> None:
        model.window = used
        options = EvaluationOptions(lists=lists, leaks=False, progress=False)
        rp.evaluate(model, dataset, at=AT, exclude_seen=seen, options=options)

    works: dict[str, Callable[[], object]] = {
        f"{name}{head}": partial(work, lists, used)
        for name, lists in (("without lists", False), ("with lists", True))
        for head, used in (("", 0), (", with the head", window))
    }
    bare: dict[str, Callable[[], object]] = {
        f"product {rows} x {columns}": lambda rows=rows, columns=columns: product(model, rows, columns)
        for rows, columns in WAYS
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*works, *bare)}
    for turn in [*(name for _ in range(rounds) for name in works), None]:
        for name, work in bare.items():
            found[name].append(seconds(work))
        if turn is not None:
            found[turn].append(seconds(works[turn]))
    return found


def sampled(model: Vectors, dataset: SequenceDataset, targets: int, rounds: int) -> dict[str, Any]:
    """Return the processor milliseconds per sampled target of each model in its fastest round."""
    protocol = rp.EvaluationProtocol(sample=TargetSample(targets))
    found: dict[str, Any] = {}
    makers: dict[str, Callable[[], Any]] = {
        "vectors": lambda: model,
        "popularity": lambda: rp.Popularity().fit(dataset),
    }
    for name, make in makers.items():
        scorer = make()
        for lists in (False, True):
            options = EvaluationOptions(lists=lists, leaks=False, progress=False)
            work = partial(rp.evaluate, scorer, dataset, protocol=protocol, options=options)
            took_s = min(seconds(work)[0] for _ in range(rounds))
            found[f"{name}{', with lists' if lists else ''}, ms"] = round(1000 * took_s / targets, 2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found[f"{name}, peak memory so far, MiB"] = peak // 1024
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = (
        ("targets", 50_000),
        ("items", 100_000),
        ("width", 128),
        ("threads", 2),
        ("rounds", 2),
        ("window", 50),
    )
    for name, default in defaults:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seen", action="store_true", help="exclude items seen earlier in the sequence")
    parser.add_argument("--sample", type=int, help="evaluate only this number of the targets")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, dataset = Vectors(options.items, options.width), random_log(options.targets, options.items)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if options.sample:
        facts = {name: getattr(options, name) for name in ("targets", "items", "width", "threads", "sample")}
        print(json.dumps(facts | sampled(model, dataset, options.sample, options.rounds), indent=2))
        return
    found = measured(model, dataset, options.rounds, options.seen, options.window)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = options.targets / SAMPLE
    ways = [name for name in found if name.startswith("product")]
    whole = [name for name in found if name not in ways]
    # compare with the product in its fastest tiling
    fastest = {name: min(processor for processor, _ in times) for name, times in found.items()}
    bare = scale * min(fastest[name] for name in ways)
    # not the fastest round by wall-clock time: a shorter round is more likely to be undisturbed
    wall = {name: median(wall for _, wall in times) for name, times in found.items()}
    bare_wall = scale * min(wall[name] for name in ways)
    result: dict[str, Any] = {
        **{name: getattr(options, name) for name, _ in defaults},
        "product, seconds of processors": round(bare, 1),
        "product, seconds for a sample": {name: round(fastest[name], 2) for name in ways},
        "seconds of processors": {name: round(fastest[name], 1) for name in whole},
        "ratio": {name: round(fastest[name] / bare, 2) for name in whole},
        "ratio of the wall": {name: round(wall[name] / bare_wall, 2) for name in whole},
        "peak memory, MiB": peak // 1024,
        "memory above vectors and log, MiB": (peak - before) // 1024,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
