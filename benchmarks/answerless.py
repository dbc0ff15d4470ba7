"""The app of `reprise serve` with the model call removed: it keeps and reads the log, and answers everybody the same.

    python benchmarks/answerless.py MODEL --store sqlite:///events.db --port 8000

For serving.py, which asks it beside the real one: what a request costs without its answer.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprise.server import run
from reprise.server.events import User
from reprise.server.live import Live
from reprise.server.questions import Answer, Answered, Question
from reprise.server.settings import Settings


class Answerless(Live):
    """Reads what the log has since of the users who ask, folds nothing, searches nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._read: dict[User, tuple[int, int]] = {}

    def recommend_all(
        self, questions: Sequence[Question], long: int | None = None
    ) -> list[Answer | Exception]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        user, seq = question.asker.user, 0
        if user is not None:
            log = self.store.since(user, *self._read.get(user, (0, 0)))
            seq = log.events[-1].seq if log.events else self._read.get(user, (0, 0))[1]
            self._read[user] = log.generation, seq
        ids = self.served.items.ranker(question.asker.tenant).catalogue.ids
        items = [
            Answered(ids[place], 10.0 - place, place + 1, None, f"follows from {seq} events")
            for place in range(question.rules.k)
        ]
        return Answer(items, self.served.version, seq, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--store", default="sqlite:///events.db")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    run.Live = Answerless  # type: ignore[misc]
    run.serve(options.model, options.store, run.Place(port=options.port), Settings(), logging.WARNING)


if __name__ == "__main__":
    main()
