"""Items per second of the encoding of item columns, on one core, and the time for one new item.

    OMP_NUM_THREADS=1 python benchmarks/content.py [ITEMS.parquet] [--column title] [--rows 20000] [--rounds 5]

Without a file, titles of 3 to 8 words are drawn from a vocabulary of 5,000 words with Zipf frequencies. Measured are the
text column by words and by characters, and all columns that are detected: fitting, encoding the whole table, and
encoding one item given as a mapping. Processor seconds of the fastest round; the encodings alternate. Prints JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.content import FittedContent, Text, detect_columns
from reprise.content.column_spec import ColumnSpec, FitContext
from reprise.content.table_rows import TableRows

SINGLE = 200
"""Number of items that are encoded one at a time."""


def drawn_table(rows: int) -> pa.Table:
    """Return titles, categories and prices that are drawn at random."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(generator.choice(letters, generator.integers(3, 10))) for _ in range(5000)])
    weight = 1 / np.arange(1, len(words) + 1)
    lengths = generator.integers(3, 9, size=rows)
    drawn = generator.choice(words, size=(rows, 8), p=weight / weight.sum())
    return pa.table(
        {
            "title": [" ".join(row[:length]) for row, length in zip(drawn, lengths, strict=True)],
            "category": generator.choice(words[:50], size=rows),
            "price": np.exp(generator.normal(size=rows)),
        }
    )


def fit(specs: tuple[ColumnSpec, ...], table: pa.Table) -> FittedContent:
    context = FitContext(TableRows(table), train_end_ms=0)
    return FittedContent(tuple(one.fit(context) for one in specs))


def measure(specs: dict[str, tuple[ColumnSpec, ...]], table: pa.Table, rounds: int) -> dict[str, Any]:
    """Return the figures of each encoding."""
    found: dict[str, Any] = {}
    fits = {}
    for name, columns in specs.items():
        start = time.process_time()
        fits[name] = fit(columns, table)
        found[name] = {"fit_s": time.process_time() - start, "features": fits[name].width}
    rows = table.slice(0, SINGLE).to_pylist()
    best = {name: [float("inf"), float("inf")] for name in fits}
    for _ in range(rounds):
        for name, content in fits.items():
            start = time.process_time()
            content.encode(table)
            middle = time.process_time()
            for row in rows:
                content.encode_values([row])
            end = time.process_time()
            best[name] = [min(best[name][0], middle - start), min(best[name][1], end - middle)]
    for name, (whole_s, single_s) in best.items():
        found[name] |= {
            "items_per_s": round(table.num_rows / whole_s),
            "ms_per_new_item": 1000 * single_s / len(rows),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("items", type=Path, nargs="?")
    parser.add_argument("--column", default="title")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = pq.read_table(options.items) if options.items else drawn_table(options.rows)
    texts = [Text(options.column, encoder=encoder) for encoder in ("words", "characters")]
    specs: dict[str, tuple[ColumnSpec, ...]] = {
        "words": (texts[0],),
        "characters": (texts[1],),
        "detected": detect_columns(table),
    }
    print(json.dumps({"rows": table.num_rows, **measure(specs, table, options.rounds)}, indent=2))


if __name__ == "__main__":
    main()
