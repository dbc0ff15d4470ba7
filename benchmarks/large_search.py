"""Exact and approximate search among many items: recall, time, memory and time to build.

    python benchmarks/large_search.py [--items 100000 1000000] [--width 64] [--queries 1 64] [--recall 0.98] [--folder DIR]
        [--trained MODEL]

The vectors are clustered, their lengths fall with the rank of the item, and the last column is a bias that also does. Queries
are near popular items. `--trained` takes the vectors of a saved model and queries after random histories instead. The
parameters are chosen on one half of the sampled queries, and the recall is that of the other half. The searches alternate,
on one thread. Medians of processor time in milliseconds per query. The vectors are in a memory-mapped file. "Memory, MB"
is measured in a process that has only the approximate index, after all queries: `anonymous` belongs to the process, and
`file` are pages of the index and of vectors that the system may drop. Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from search import medians

from reprise.recommender.search.approximate_index import TUNED_K, ApproximateIndex, SearchParameters
from reprise.recommender.search.inverted_file import InvertedFile
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.search.recall import choose_parameters, measured_recall

SAMPLED = 1000
BLOCK = 200_000
Arrays = tuple[np.ndarray, np.ndarray]


def made_vectors(file: Path, items: int, width: int) -> np.ndarray:
    """Write vectors to a file, and return them as a memory-mapped array."""
    generator = np.random.default_rng(0)
    columns, clusters = width - 1, max(50, items // 200)
    group_GD = generator.standard_normal((50, columns))
    centre_CD = 0.7 * group_GD[generator.integers(50, size=clusters)]
    centre_CD = (centre_CD + 0.7 * generator.standard_normal(centre_CD.shape)).astype(np.float32)
    share_C = np.arange(1, clusters + 1) ** -0.7
    cluster_I = generator.choice(clusters, size=items, p=share_C / share_C.sum())
    rank_I = -np.log1p(np.arange(items))
    rank_I = (rank_I - rank_I.mean()) / rank_I.std()
    spread_D = (np.arange(1, columns + 1) ** -0.3).astype(np.float32)
    vectors_ID = np.lib.format.open_memmap(file, "w+", np.float32, (items, width))
    for start in range(0, items, BLOCK):
        part = slice(start, start + BLOCK)
        x_ND = centre_CD[cluster_I[part]]
        x_ND = (x_ND + 0.8 * generator.standard_normal(x_ND.shape, dtype=np.float32)) * spread_D
        vectors_ID[part, :columns] = x_ND * (np.exp(0.25 * rank_I[part]) / columns**0.5)[:, None]
        vectors_ID[part, columns] = 0.5 * rank_I[part] + 0.2 * generator.standard_normal(len(x_ND))
    vectors_ID.flush()
    return np.load(file, mmap_mode="r")


def made_queries(vectors_ID: np.ndarray, count: int) -> np.ndarray:
    """Return queries near one popular item and a little near another one; they read the bias with weight 1."""
    generator = np.random.default_rng(1)
    columns = vectors_ID.shape[1] - 1
    share_I = np.arange(1, len(vectors_ID) + 1) ** -0.6
    item_2N = generator.choice(len(vectors_ID), size=(2, count), p=share_I / share_I.sum())
    near_ND, far_ND = (vectors_ID[item_N][:, :columns] for item_N in item_2N)
    unit_ND, other_ND = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (near_ND, far_ND))
    noise_ND = 0.8 * generator.standard_normal((count, columns)) / columns**0.5
    query_ND = np.ones((count, columns + 1), dtype=np.float32)
    query_ND[:, :columns] = 3 * (unit_ND + 0.35 * other_ND + noise_ND)
    return query_ND


def trained(model: Path) -> Arrays:
    """Return the vectors of a saved model, and queries after histories that are drawn by popularity."""
    from reprise import Recommender
    from reprise.recommender.artefact.sampled_queries import sampled_queries

    recommender = Recommender.load(model)
    network = recommender.ranker.network
    return network.output_ID, sampled_queries(network, recommender.artefact.items, None, SAMPLED)[0]


def memory_MB() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {"anonymous": int(fields["RssAnon"]) // 1000, "file": int(fields["RssFile"]) // 1000}


def alone(options: argparse.Namespace) -> None:
    """Measure the approximate index in a process of its own, and print the result."""
    before = memory_MB()
    vectors_ID = np.load(options.alone / "vectors.npy", mmap_mode="r")
    query_ND = np.load(options.alone / "queries.npy")
    start_s = time.perf_counter()
    file = InvertedFile.open(options.alone / "search.faiss", *vectors_ID.shape)
    opened_s = time.perf_counter() - start_s
    index = ApproximateIndex(vectors_ID, file, SearchParameters(*options.parameters))
    generator = np.random.default_rng(2)
    most_I, tenth_I = (generator.random(len(vectors_ID)) < share for share in (0.99, 0.1))
    few_I = generator.random(len(vectors_ID)) < 5000 / len(vectors_ID)
    place = 0

    def ask(count: int, *mask: np.ndarray) -> None:
        nonlocal place
        place = (place + count) % (len(query_ND) - count)
        index.search(query_ND[place : place + count], TUNED_K, *mask)

    ways: dict[str, Any] = {f"{count} together": lambda count=count: ask(count) for count in options.queries}
    ways |= {
        "alone, 1 % excluded": lambda: ask(1, most_I),
        "alone, a tenth allowed": lambda: ask(1, tenth_I),
        "alone, 5000 allowed": lambda: ask(1, few_I),
    }
    taken = medians(ways, options.repeats)
    for count in options.queries:
        taken[f"{count} together"] /= count
    after = memory_MB()
    print(
        json.dumps(
            {
                "approximate, ms": {name: round(ms, 3) for name, ms in taken.items()},
                "opened, s": round(opened_s, 3),
                "memory, MB": {"before": before, "after all queries": after},
            }
        )
    )


def measure(options: argparse.Namespace, items: int, folder: Path) -> dict[str, Any]:
    """Build an index and measure it."""
    if options.trained:
        vectors_ID, query_ND = trained(options.trained)
        np.save(folder / "vectors.npy", vectors_ID)
    else:
        vectors_ID = made_vectors(folder / "vectors.npy", items, options.width)
        query_ND = made_queries(vectors_ID, SAMPLED)
    np.save(folder / "queries.npy", query_ND)
    half = options.checked
    start_s = time.process_time()
    file = InvertedFile.build(vectors_ID, query_ND[half:])
    built_s = time.process_time() - start_s
    file.write(folder / "search.faiss")
    exact = QuantizedIndex(np.asarray(vectors_ID))
    best_BK, _ = exact.search(query_ND[: 2 * half], TUNED_K)
    start_s = time.process_time()
    chosen = choose_parameters(
        file, len(vectors_ID), query_ND[half : 2 * half], best_BK[half:], options.recall
    )
    chosen_s = time.process_time() - start_s
    recall = measured_recall(ApproximateIndex(vectors_ID, file, chosen), query_ND[:half], best_BK[:half])
    ways: dict[str, Any] = {
        f"{count} together": lambda count=count: exact.search(query_ND[:count], TUNED_K)
        for count in options.queries
    }
    taken = medians(ways, max(1, options.repeats // 10))
    call = [
        sys.executable,
        __file__,
        "--alone",
        folder,
        "--parameters",
        *chosen,
        "--repeats",
        options.repeats,
    ]
    result = subprocess.run(
        [str(part) for part in [*call, "--queries", *options.queries]],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "items": len(vectors_ID),
        "width": vectors_ID.shape[1],
        "lists": file.lists,
        "read lists": chosen.lists,
        "candidates": chosen.candidates,
        f"recall@{TUNED_K}": round(recall, 4),
        "exact, ms": {
            name: round(ms / count, 3)
            for (name, ms), count in zip(taken.items(), options.queries, strict=True)
        },
        **json.loads(result.stdout),
        "index, MB": (folder / "search.faiss").stat().st_size // 10**6,
        "vectors, MB": vectors_ID.nbytes // 10**6,
        "built, s": round(built_s, 1),
        "parameters chosen, s": round(chosen_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 64])
    for name, default in (("width", 64), ("repeats", 100), ("checked", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--trained", type=Path, help="saved model whose vectors are searched")
    parser.add_argument("--folder", type=Path, help="directory for the files of the largest catalogues")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--parameters", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        alone(options)
        return
    for items in options.items[:1] if options.trained else options.items:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(json.dumps(measure(options, items, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
