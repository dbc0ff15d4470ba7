"""Many histories: those of similar length are folded together, and get recommendations in blocks of bounded memory.

Shape letters: B histories.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reprise.recommender.history import History
from reprise.recommender.items.candidate_mask import Filters
from reprise.recommender.ranker import HistorySummary, Ranker
from reprise.recommender.recommendations import Recommendations
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State

MAX_BATCH = 1024
"""Largest number of histories that are folded together."""
MAX_MASK_ENTRIES = 2**25
"""Largest number of entries of a mask of users by items, unless one user needs more."""


class FoldedBatch(NamedTuple):
    """Histories of similar length, with their states."""

    rows: list[int]
    """Positions of the histories in the sequence that was passed."""
    histories: list[History]
    """The histories."""
    state: State
    """States after the histories, one row for each."""


def folded_batches(network: OnnxNetwork, read_B: Sequence[History], limit: int) -> Iterator[FoldedBatch]:
    """Fold histories in batches, the longest first. A batch has at least 1 and at most `MAX_BATCH` histories.

    Args:
        network: The network.
        read_B: The histories.
        limit: Largest number of histories in a batch. A batch of one history may be above it.
    """
    order_B = sorted(range(len(read_B)), key=lambda row: -len(read_B[row]))
    size = max(1, min(MAX_BATCH, limit))
    for start in range(0, len(order_B), size):
        rows = order_B[start : start + size]
        histories = [read_B[row] for row in rows]
        yield FoldedBatch(rows, histories, network.fold([history.events for history in histories]))


def rank_histories(
    ranker: Ranker, read_B: Sequence[History], k: int, filters: Filters, now_s: float, diversity: float
) -> list[Recommendations]:
    """Return the k best items after each history, in the order of the histories. For the arguments see `Ranker.rank`."""
    results = [Recommendations()] * len(read_B)
    # only a mask for each user grows with users times items: without one, all states are ranked together
    block = max(1, MAX_MASK_ENTRIES // ranker.catalogue.size) if filters.exclude_seen else MAX_BATCH
    for batch in folded_batches(ranker.network, read_B, MAX_BATCH):
        for start in range(0, len(batch.rows), block):
            part = slice(start, start + block)
            summaries = [
                HistorySummary(len(history), history.skipped, history.events.item, history.attributes)
                for history in batch.histories[part]
            ]
            state = {name: array[part] for name, array in batch.state.items()}
            ranked = ranker.rank(state, summaries, k, filters, now_s, diversity)
            for row, result in zip(batch.rows[part], ranked, strict=True):
                results[row] = result
    return results
