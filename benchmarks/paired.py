"""Paired differences between runs on the same targets, from the sums written by `--sums`.

    python benchmarks/paired.py sums/yoo-reprise-64-600s-test.npz sums/yoo-sasrec-64-600s-test.npz
    python benchmarks/paired.py runs/yoo sums/yoo-sasrec-128-150s-test.npz

A run of `reprise train` may take the place of a file: it is evaluated on its test part. The first is compared with
each of the others: its metric minus theirs, with a 95 % interval of 1,000 resamples of whole sequences, with the same
draws for all. Prints JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ours import sums_of
from protocol import Sums

from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import QUICK
from reprise.evaluation.stats.bootstrap import Bootstrap
from reprise.training import load_run


def load(path: Path, *, exclude_seen: bool = False, min_history: int = 1) -> Sums:
    """Read the file of `Sums.save`, or evaluate a run on its test part."""
    if path.is_dir():
        seen: Any = {"exclude_seen": exclude_seen, "min_history": min_history}
        return sums_of(evaluate(*load_run(path), options=QUICK, **seen))
    with np.load(path) as file:
        return Sums(file["row_S"], file["targets_S"], tuple(file["metrics"].tolist()), file["sum_SM"])


def difference(mine: Sums, theirs: Sums) -> dict[str, list[float | None]]:
    """Return the difference and its interval for each metric."""
    same = np.array_equal(mine.row_S, theirs.row_S) and np.array_equal(mine.targets_S, theirs.targets_S)
    if not same or mine.metrics != theirs.metrics:
        raise SystemExit(
            "the two runs were measured on other targets or by other metrics; repeat one of them"
        )
    gaps = Bootstrap().intervals(mine.sum_SM - theirs.sum_SM, mine.targets_S)
    return {
        name: [None if bound is None else round(bound, 5) for bound in gap]
        for name, gap in zip(mine.metrics, gaps, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("others", type=Path, nargs="+")
    parser.add_argument("--exclude-seen", action="store_true", help="for runs: as the files were evaluated")
    parser.add_argument("--min-history", type=int, default=1, help="for runs: as the files were evaluated")
    options = parser.parse_args()
    how: Any = {"exclude_seen": options.exclude_seen, "min_history": options.min_history}
    mine = load(options.first, **how)
    found: dict[str, Any] = {options.first.stem: mine.means()}
    for path in options.others:
        theirs = load(path, **how)
        found[path.stem] = {**theirs.means(), "difference [low, high]": difference(mine, theirs)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
