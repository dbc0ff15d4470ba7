"""The app of `reprise serve` without model inference: it stores and reads events, and gives every user the same items.

    python benchmarks/server_without_model.py MODEL --store sqlite:///events.db --port 8000

For serving.py, which compares it with the real app: the difference is the cost of inference.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reprise.server import process
from reprise.server.engine.requests import RankedItem, RecommendQuery, RecommendResult
from reprise.server.engine.served_model import ServedModel
from reprise.server.queueing import async_service
from reprise.server.settings import Settings
from reprise.server.store.records import User

_LAST_READ: dict[User, tuple[int, int]] = {}
"""Generation and last position in the log, by user."""


def recommend_batch(
    model: ServedModel, queries: Sequence[RecommendQuery], max_new_events: int | None = None
) -> list[RecommendResult | Exception]:
    """Read the new events of each user, without updating a state or searching for items."""
    return [_result(model, query) for query in queries]


def _result(model: ServedModel, query: RecommendQuery) -> RecommendResult:
    user, seq = query.context.user, 0
    if user is not None:
        last = _LAST_READ.get(user, (0, 0))
        log = model.states.store.events_since(user, *last)
        seq = log.events[-1].seq if log.events else last[1]
        _LAST_READ[user] = log.generation, seq
    ids = model.items.ranker(query.context.tenant).catalogue.ids
    items = [
        RankedItem(ids[place], 10.0 - place, place + 1, None, f"follows from {seq} events")
        for place in range(query.rules.k)
    ]
    return RecommendResult(items, model.version, seq, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--store", default="sqlite:///events.db")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    async_service.recommend_batch = recommend_batch  # type: ignore[attr-defined]
    process.serve(
        options.model, options.store, process.ListenSettings(port=options.port), Settings(), logging.WARNING
    )


if __name__ == "__main__":
    main()
