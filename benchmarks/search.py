"""Cost of the item search by catalogue and batch size: the float32 product and the 8-bit quantised search.

    python benchmarks/search.py [--items 10000 50000 100000 200000] [--queries 1 4 16] [--width 128] [--k 10] [--repeats 100]
        [--faiss]

Random vectors; each question has a mask that excludes one item in a hundred, and 400 corrections. "With repeats" adds a
repeat head that reads 50 events of 30 items, with times and kinds; "few allowed" has a mask that allows one item in
ten. The searches alternate in groups of ten calls, on one thread. Medians of processor time in milliseconds per
question; the answers of both indices must agree. `--faiss` also measures two quantisers and the fast scan of that
library, without masks, corrections or exactness. Prints JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.runtime.repeat_tables import RepeatTables
from reprise.recommender.search.exact_index import ExactIndex, Index, SearchResult
from reprise.recommender.search.int8_matmul import MAX_ITEM_CODE, MAX_QUERY_CODE, Int8Matmul
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.quantized_index import QuantizedIndex

ADDITIONS, EVENTS = 400, 50
Ways = dict[str, Callable[[], object]]


def medians(ways: Ways, repeats: int) -> dict[str, float]:
    """Return median milliseconds of each. Calls run in groups of ten, because a call leaves its data in the cache."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(max(1, repeats // 10)):
        for name, way in ways.items():
            way()
            for _ in range(10):
                start = time.process_time()
                way()
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()}


def additions(generator: np.random.Generator, queries: int, items: int) -> LogitCorrections:
    """Return a number of random corrections for each query."""
    count = min(ADDITIONS, items)
    item_BM = np.array([np.sort(generator.choice(items, count, replace=False)) + 1 for _ in range(queries)])
    value_BM = generator.random(item_BM.shape, dtype=np.float32)
    return LogitCorrections(np.repeat(np.arange(queries), count), item_BM.ravel(), value_BM.ravel())


def repeat_head() -> RepeatTables:
    """Return a repeat head that reads times and kinds."""
    numbers = {
        "position": [0.0, 0.0, 0.0, -0.3, 0.3, 0.6],
        "own_weight": [0.3],
        "gate": [-1.0, 0.0, 0.5],
        "scale": [1.0],
        "shift": [-0.05],
        "time": [-0.1],
        "kind": [0.0, 0.1, 0.2],
    }
    arrays = {name: np.array(values, dtype=np.float32) for name, values in numbers.items()}
    return RepeatTables(window=np.array([EVENTS]), **arrays)


def windows(generator: np.random.Generator, queries: int, items: int) -> State:
    """Return the last events of each query, with repeated items."""
    item_BN = generator.integers(1, items + 1, size=(queries, 30))
    shape = queries, EVENTS
    return {
        "recent": np.take_along_axis(item_BN, generator.integers(30, size=shape), axis=1),
        "recent_time_s": np.sort(1e6 * generator.random(shape), axis=1),
        "recent_kind": generator.integers(3, size=shape),
    }


def faiss_ways(vectors_ID: np.ndarray, query_BD: np.ndarray, k: int) -> Ways:
    import faiss

    faiss.omp_set_num_threads(1)
    width = vectors_ID.shape[1]
    kinds = {
        "faiss, 8 bits": "SQ8",
        "faiss, bfloat16": "SQbf16",
        "faiss, 4 bits, then floats": f"PQ{width // 2}x4fs,RFlat",
    }
    ways: Ways = {}
    for name, kind in kinds.items():
        index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors_ID[:20_000])
        index.add(vectors_ID)
        ways[name] = lambda index=index: index.search(query_BD, k)  # type: ignore[misc]
    return ways


def measure(items: int, queries: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all searches for one catalogue size and one batch size."""
    generator = np.random.default_rng(0)
    vectors_ID = generator.standard_normal((items, options.width), dtype=np.float32)
    query_BD = generator.standard_normal((queries, options.width), dtype=np.float32)
    allowed_BI = generator.random((queries, items)) < 0.99
    extra = additions(generator, queries, items)
    exact, quick = ExactIndex(vectors_ID), QuantizedIndex(vectors_ID, min_items=1)
    arguments = (query_BD, options.k, allowed_BI, extra)
    few = (query_BD, options.k, generator.random((queries, items)) < 0.1, extra)
    head, state = repeat_head(), windows(generator, queries, items)

    def with_repeats(index: Index, arguments: Any) -> SearchResult:
        return index.search(*arguments, head.mixture(state, arguments[2]))

    assert np.array_equal(exact.search(*arguments)[0], quick.search(*arguments)[0])
    assert np.array_equal(with_repeats(exact, arguments)[0], with_repeats(quick, arguments)[0])
    code_ID = generator.integers(-MAX_ITEM_CODE, MAX_ITEM_CODE, vectors_ID.shape, dtype=np.int8)
    code_BD = generator.integers(-MAX_QUERY_CODE, MAX_QUERY_CODE, query_BD.shape, dtype=np.int8)
    of_bytes = Int8Matmul(code_ID)
    ways: Ways = {
        "product of floats": lambda: query_BD @ vectors_ID.T,
        "product of bytes": lambda: of_bytes(code_BD),
        "exact": lambda: exact.search(*arguments),
        "quick": lambda: quick.search(*arguments),
        "quick, with repeats": lambda: with_repeats(quick, arguments),
        "quick, few allowed": lambda: quick.search(*few),
        "quick, few allowed, with repeats": lambda: with_repeats(quick, few),
        "terms of the repeats": lambda: head.mixture(state, allowed_BI),
        "exact, neither mask nor additions": lambda: exact.search(query_BD, options.k),
        "quick, neither mask nor additions": lambda: quick.search(query_BD, options.k),
    }
    ways |= faiss_ways(vectors_ID, query_BD, options.k) if options.faiss else {}
    taken = medians(ways, options.repeats)
    return {
        "items": items,
        "queries": queries,
        **{name: round(ms / queries, 3) for name, ms in taken.items()},
        "exact / quick": round(taken["exact"] / taken["quick"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 50_000, 100_000, 200_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 4, 16])
    for name, default in (("width", 128), ("k", 10), ("repeats", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--faiss", action="store_true")
    options = parser.parse_args()
    for items in options.items:
        for queries in options.queries:
            print(json.dumps(measure(items, queries, options)), flush=True)


if __name__ == "__main__":
    main()
