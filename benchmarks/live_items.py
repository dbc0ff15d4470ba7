"""Processor time of adding one item to a recommender that reads content, by the number of items added before.

    python benchmarks/live_items.py MODEL --column title

MODEL is a saved model with content. A server does this work twice for each `PUT /v1/items`: to check the values, and to
apply them.
"""

import argparse
import time

import numpy as np

from reprise.recommender import Recommender

CALLS = 20
"""Number of items that are added one by one, for each measurement."""
SIZES = (0, 100, 1_000, 9_900)
"""Numbers of items that were added before."""


def main() -> None:
    """Measure and print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--column", default="title")
    options = parser.parse_args()
    shop = Recommender.load(options.model)
    row = shop.ranker.catalogue.item(shop.items.item_ids([1])[0])
    value = row[options.column]
    for size in SIZES:
        full = shop.with_items({f"before {place}": {options.column: value} for place in range(size)})
        spent_ms = []
        for place in range(CALLS):
            start_s = time.process_time()
            full.with_items({f"new {place}": {options.column: value}})
            spent_ms.append(1000 * (time.process_time() - start_s))
        median, slowest = np.median(spent_ms), max(spent_ms)
        print(f"{size:6,} items added before: median {median:.2f} ms, slowest {slowest:.2f} ms")


if __name__ == "__main__":
    main()
