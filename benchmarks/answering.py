"""Cost of recommendations: a step, a query, catalogues of several sizes, files of many users.

    python benchmarks/answering.py [--items 10000 100000] [--width 128] [--events 20] [--users 10000] [--repeats 200]

Random weights and histories; the model is saved and loaded again; one thread. Prints JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reprise import Recommender, Recurrent, SequenceDataset
from reprise.data import Vocabulary

K = 10


def catalogue(items: int) -> SequenceDataset:
    """Return a dataset of one sequence that has every item once: an export needs only ids and counts."""
    ids = [f"p{item}" for item in range(items)]
    ends = np.array([items])
    return SequenceDataset(
        items=Vocabulary(np.array(ids, dtype=object), warm=items),
        users=np.array([0]),
        offset=np.array([0, items]),
        train_end=ends,
        valid_end=ends,
        item=np.arange(1, items + 1, dtype=np.int32),
        time_ms=np.zeros(items, dtype=np.int64),
        kind=np.zeros(items, dtype=np.uint8),
        value=np.full(items, np.nan, dtype=np.float32),
        table=pa.table({"item_id": ids, "count": [1] * items}),
    )


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def p50(work: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of the repeats, after a first one that is not counted."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def measure(items: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all timings for one catalogue size."""
    dataset = catalogue(items)
    model = Recurrent(size=options.width).build(dataset.sizes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.model"
        export_s = seconds(lambda: Recommender(model, dataset).save(path))
        load_s = seconds(lambda: Recommender.load(path))
        shop = Recommender.load(path)
    generator = np.random.default_rng(0)
    histories = [
        [f"p{item}" for item in row]
        for row in generator.integers(items, size=(options.users, options.events))
    ]
    visit = shop.session()
    many_s = seconds(lambda: shop.recommend_many(histories, K))
    return {
        "items": items,
        "export_s": round(export_s, 1),
        "load_s": round(load_s, 2),
        "state_bytes": visit.state_bytes,
        "add_us": round(p50(lambda: visit.add("p7"), options.repeats) * 1e6, 1),
        "answer_us": round(p50(lambda: visit.recommend(K), options.repeats) * 1e6, 1),
        "recommend_us": round(p50(lambda: shop.recommend(histories[0], K), options.repeats) * 1e6, 1),
        "many_users_per_s": round(options.users / many_s),
        **bare(shop, options.repeats),
    }


def bare(shop: Recommender, repeats: int) -> dict[str, float]:
    """Measure the two ONNX graphs alone."""
    from reprise.recommender.runtime.event_arrays import EventArrays
    from reprise.recommender.runtime.onnx_session import OnnxSession

    artefact = shop.artefact
    runtime = OnnxSession(artefact.step, artefact.query, artefact.initial)
    state, x_1D = runtime.initial_state(1), artefact.input_ID[:1]
    event, unknown = EventArrays.of_items(np.array([1])), np.array([np.nan])
    return {
        "step_us": round(p50(lambda: runtime.advance(state, x_1D, event), repeats) * 1e6, 1),
        "query_us": round(p50(lambda: runtime.query(state, unknown), repeats) * 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000])
    for name, default in (("width", 128), ("events", 20), ("users", 10_000), ("repeats", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    sizes = [measure(items, options) for items in options.items]
    print(json.dumps({"width": options.width, "events": options.events, "k": K, "sizes": sizes}, indent=2))


if __name__ == "__main__":
    main()
