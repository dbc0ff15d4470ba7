"""The protocol of `reprise.evaluation` with numpy only, for peers in a separate environment.

Shape letters: U sequences, E events, W events with a warm item, N targets, C targets of a chunk, I items (the warm
ones), D width, S sequences with a target, M metrics. A test holds it to `reprise.evaluate`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
MISS = 2**31 - 1
"""Rank of a target that is not a candidate: below every list."""
SCORES_AT_ONCE = 1 << 22
GAINS = {
    "recall": np.ones_like,
    "mrr": lambda rank_K: 1.0 / rank_K,
    "ndcg": lambda rank_K: 1.0 / np.log2(rank_K + 1.0),
}
METRICS = ("ndcg@10", "recall@10", "recall@20", "mrr@20")
"""Reported metrics: the first two are usual for users, the others for sessions."""


class Targets(NamedTuple):
    """The targets, in the order of the log."""

    row_N: Array
    """Which sequence."""
    item_N: Array
    """The right item, which may be cold."""
    first_N: Array
    """Where the context begins in `Log.warm_item`."""
    last_N: Array
    """One past its end."""


class Sums(NamedTuple):
    """The metrics summed within each sequence, as paired intervals need them."""

    row_S: Array
    targets_S: Array
    metrics: tuple[str, ...]
    sum_SM: Array

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over targets."""
        means = self.sum_SM.sum(0) / self.targets_S.sum()
        return {name: round(float(mean), 6) for name, mean in zip(self.metrics, means, strict=True)}

    def save(self, path: Path) -> None:
        """Save the fields as one file of arrays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{**self._asdict(), "metrics": np.array(self.metrics)})


@dataclass(frozen=True, eq=False)
class Log:
    """A prepared log, read without the library. Item j in 1..I is warm, above that it is cold."""

    name: str
    fingerprint: str
    warm: int
    offset: Array
    train_end: Array
    valid_end: Array
    item: Array
    time_ms: Array

    @classmethod
    def open(cls, path: Path) -> "Log":
        """Open a dataset written by `reprise prepare`."""
        manifest = json.loads((path / "dataset.json").read_text())
        names = ("offset", "train_end", "valid_end", "item", "time_ms")
        arrays = {name: np.load(path / f"{name}.npy") for name in names}
        return cls(path.name, manifest["fingerprint"], manifest["warm"], **arrays)

    @property
    def warm_item(self) -> Array:
        """Return all events with a warm item, [W]. Peers know no others, so cold items of a history are skipped."""
        return self.item[self.item <= self.warm]

    def training(self) -> tuple[Array, Array, Array]:
        """Return the training part in the order of the log: (row [E], item [E], time_ms [E])."""
        length_U = self.train_end - self.offset[:-1]
        row_E = np.repeat(np.arange(len(length_U)), length_U)
        position_E = np.arange(len(self.item))
        position_E = position_E[position_E < np.repeat(self.train_end, np.diff(self.offset))]
        return row_E, self.item[position_E].astype(np.int64), self.time_ms[position_E]

    def targets(self, part: str, min_history: int) -> Targets:
        """Return every event of a part with enough events before it; these are its context."""
        first_U, last_U = {
            "valid": (self.train_end, self.valid_end),
            "test": (self.valid_end, self.offset[1:]),
        }[part]
        first_U = np.maximum(first_U, self.offset[:-1] + min_history)
        count_U = np.maximum(last_U - first_U, 0)
        row_N = np.repeat(np.arange(len(count_U)), count_U)
        step_N = np.arange(len(row_N)) - np.repeat(np.cumsum(count_U) - count_U, count_U)
        position_N = first_U[row_N] + step_N
        warm_before = np.concatenate([[0], np.cumsum(self.item <= self.warm)])
        begin_N = self.offset[:-1][row_N]
        return Targets(
            row_N, self.item[position_N].astype(np.int64), warm_before[begin_N], warm_before[position_N]
        )


def products(query_ND: Array, vector_ID: Array) -> Iterator[Array]:
    """Yield scores as inner products, for one chunk of targets after another, [C, I]."""
    rows = max(16, SCORES_AT_ONCE // len(vector_ID))
    for start in range(0, len(query_ND), rows):
        yield query_ND[start : start + rows] @ vector_ID.T


def measure(log: Log, targets: Targets, scores: Iterable[Array], exclude_seen: bool) -> Sums:
    """Rank each target among all warm items; ties are averaged.

    Args:
        log: Where the contexts are.
        targets: What is ranked.
        scores: Chunks [C, I] in the order of the targets, column j for item j + 1; -inf for an item that the
            peer does not know, which is then a miss.
        exclude_seen: Whether to exclude items of the context from the candidates.
    """
    warm_item = log.warm_item
    higher, equal = [], []
    start = 0
    for s_CI in scores:
        chunk = slice(start, start + len(s_CI))
        start += len(s_CI)
        part = Targets(*(column[chunk] for column in targets))
        if exclude_seen:
            for row, (first, last) in enumerate(zip(part.first_N, part.last_N, strict=True)):
                s_CI[row, warm_item[first:last] - 1] = -np.inf
        found = _ranks(s_CI, part.item_N)
        higher.append(found[0])
        equal.append(found[1])
    assert start == len(targets.row_N), f"{start} targets of {len(targets.row_N)} have scores"
    return _sums(targets.row_N, np.concatenate(higher), np.concatenate(equal))


def _ranks(s_CI: Array, item_C: Array) -> tuple[Array, Array]:
    """Return the number of items with a higher score, and of others with an equal score."""
    items = s_CI.shape[1]
    assert not np.isnan(s_CI).any(), "a score is not a number"
    own_C = s_CI[np.arange(len(item_C)), np.minimum(item_C, items) - 1]
    missed_C = (item_C > items) | np.isneginf(own_C)
    higher_C = np.count_nonzero(s_CI > own_C[:, None], axis=1)
    equal_C = np.count_nonzero(s_CI == own_C[:, None], axis=1) - 1
    return np.where(missed_C, MISS, higher_C), np.where(missed_C, 0, equal_C)


def _sums(row_N: Array, higher_N: Array, equal_N: Array) -> Sums:
    row_S, place_N, targets_S = np.unique(row_N, return_inverse=True, return_counts=True)
    columns = [
        np.bincount(place_N, _gain(metric, higher_N, equal_N), minlength=len(row_S)) for metric in METRICS
    ]
    return Sums(row_S, targets_S, METRICS, np.column_stack(columns))


def _gain(metric: str, higher_N: Array, equal_N: Array) -> Array:
    """Return the expected gain of a target over all orders of the items with its score."""
    name, _, k = metric.partition("@")
    worth_K = GAINS[name](np.arange(1, int(k) + 1, dtype=np.float64))
    prefix = np.concatenate([[0.0], np.cumsum(worth_K)])
    past_N = np.minimum(higher_N + equal_N + 1, int(k))
    gain_N: Array = (prefix[past_N] - prefix[np.minimum(higher_N, int(k))]) / (equal_N + 1)
    return gain_N
