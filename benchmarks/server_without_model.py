"""The app of `reprise serve` without the model: it stores and reads events, and gives everyone the same answer.

    python benchmarks/server_without_model.py MODEL --store sqlite:///events.db --port 8000

serving.py compares it with the real server: the cost of a request without its answer.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprise.server import process
from reprise.server.engine.requests import RankedItem, RecommendQuery, RecommendResult
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.settings import Settings
from reprise.server.store.records import User


class EngineWithoutModel(ServingEngine):
    """A serving engine that reads new events of a user but computes no state and searches no items."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._read: dict[User, tuple[int, int]] = {}

    def recommend_all(
        self, questions: Sequence[RecommendQuery], long: int | None = None
    ) -> list[RecommendResult | Exception]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: RecommendQuery) -> RecommendResult:
        user, seq = question.asker.user, 0
        if user is not None:
            log = self.store.since(user, *self._read.get(user, (0, 0)))
            seq = log.events[-1].seq if log.events else self._read.get(user, (0, 0))[1]
            self._read[user] = log.generation, seq
        ids = self.served.items.ranker(question.asker.tenant).catalogue.ids
        items = [
            RankedItem(ids[place], 10.0 - place, place + 1, None, f"follows from {seq} events")
            for place in range(question.rules.k)
        ]
        return RecommendResult(items, self.served.version, seq, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--store", default="sqlite:///events.db")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    process.ServingEngine = EngineWithoutModel  # type: ignore[misc]
    process.serve(
        options.model, options.store, process.ListenSettings(port=options.port), Settings(), logging.WARNING
    )


if __name__ == "__main__":
    main()
