"""Recommendations for many histories: those of similar length are folded together, in batches of bounded memory.

Shape letters: B histories.
"""

from collections.abc import Sequence

from reprise.recommender.history import History
from reprise.recommender.items.candidate_mask import Filters
from reprise.recommender.ranker import HistorySummary, Ranker
from reprise.recommender.recommendations import Recommendations

MAX_BATCH = 1024
"""Largest number of histories that are folded together."""
MAX_MASK_ENTRIES = 2**25
"""Largest number of entries of a mask of users by items, unless one user needs more."""


def rank_histories(
    ranker: Ranker, read_B: Sequence[History], k: int, filters: Filters, now_s: float, diversity: float
) -> list[Recommendations]:
    """Return the k best items after each history, in the order of the histories. For the arguments see `Ranker.rank`."""
    order_B = sorted(range(len(read_B)), key=lambda row: -len(read_B[row]))
    batch = max(1, min(MAX_BATCH, MAX_MASK_ENTRIES // ranker.catalogue.size))
    results = [Recommendations()] * len(read_B)
    for start in range(0, len(order_B), batch):
        rows = order_B[start : start + batch]
        histories = [read_B[row] for row in rows]
        state = ranker.network.fold([history.events for history in histories])
        summaries = [
            HistorySummary(len(history), history.skipped, history.events.item, history.attributes)
            for history in histories
        ]
        ranked = ranker.rank(state, summaries, k, filters, now_s, diversity)
        for row, result in zip(rows, ranked, strict=True):
            results[row] = result
    return results
