"""The first event of each sequence that begins in the test part: the static list against the popularity of the moment.

    python benchmarks/first_events.py data/shop --at 20

Everything is counted from the events before the test part, and chosen by first events of the validation part. The interval
is a 95 % interval of the difference, by the normal approximation over sequences. Shape letters: N targets, I items.
"""

import argparse

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.data.fit_popular_items import attributes_of, fit_popular_items
from reprise.data.popular_items import Moment, PopularItems, popular_shares


def targets(dataset: SequenceDataset) -> tuple[AnyArray, AnyArray]:
    """Return the sequences that begin in the test part, and the index of their first item minus 1, [N] each."""
    first_U, last_U = np.asarray(dataset.offset[:-1]), np.asarray(dataset.offset[1:])
    (row_N,) = np.nonzero((first_U == np.asarray(dataset.valid_end)) & (last_U > first_U))
    return row_N, np.asarray(dataset.item[first_U[row_N]]) - 1


def gains(dataset: SequenceDataset, popular: PopularItems, k: int, timed: bool, known: bool) -> Float64Array:
    """Return recall@k and NDCG@k of each target, [N, 2]; ties count at their average rank, new items as misses."""
    row_N, column_N = targets(dataset)
    result_N2 = np.zeros((len(row_N), 2))
    for number, (row, column) in enumerate(zip(row_N.tolist(), column_N.tolist(), strict=True)):
        time_s = dataset.time_ms[dataset.offset[row]] / 1000 if timed else float("nan")
        share_I = popular.at(Moment(time_s, attributes_of(dataset, row) if known else {})).share_I
        if column < len(share_I):
            share = share_I[column]
            rank = (share_I > share).sum() + ((share_I == share).sum() - 1) / 2
            result_N2[number] = (1.0, 1 / np.log2(rank + 2)) if rank < k else (0.0, 0.0)
    return result_N2


def main() -> None:
    """Print recall and NDCG of the lists of a dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--at", type=int, default=20)
    args = parser.parse_args()
    dataset = SequenceDataset.open(args.dataset)
    fitted = fit_popular_items(dataset, "test")
    contexts = ", ".join(one.name for one in fitted.contexts) or "none"
    print(
        f"half-life {fitted.half_life_s / 86400:g} days, first events against {fitted.entry_smoothing:g}, contexts {contexts}"
    )
    static = PopularItems.static(popular_shares(dataset.table, dataset.items.warm))
    base_N2 = gains(dataset, static, args.at, timed=False, known=False)
    print(f"{len(base_N2)} first events")
    rows = {
        "static": base_N2,
        "no time, no attributes": gains(dataset, fitted, args.at, timed=False, known=False),
        "time": gains(dataset, fitted, args.at, timed=True, known=False),
        "time and attributes": gains(dataset, fitted, args.at, timed=True, known=True),
    }
    for name, found_N2 in rows.items():
        gap_N2 = found_N2 - base_N2
        half_2 = 1.96 * gap_N2.std(axis=0) / np.sqrt(len(gap_N2))
        recall, ndcg = found_N2.mean(axis=0)
        low, high = gap_N2[:, 0].mean() - half_2[0], gap_N2[:, 0].mean() + half_2[0]
        print(
            f"{name:24s} recall@{args.at} {recall:.4f} ({low:+.4f} to {high:+.4f})  NDCG@{args.at} {ndcg:.4f}"
        )


if __name__ == "__main__":
    main()
