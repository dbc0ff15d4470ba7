"""Session-kNN of the session-rec framework: VSKNN (Ludewig and Jannach, 2018) and VSTAN (Ludewig et al., 2021).

Its folder is an argument; nothing of it is copied. The two classes are called as by their `predict_next`, but their
scores are kept as numbers instead of a pandas series of the whole catalogue for each answer.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from clock import Clock
from protocol import SCORES_AT_ONCE, Array, Log, Targets

CLASSES = {"vsknn": ("vsknn", "VMContextKNN"), "vstan": ("vstan", "VSKNN_STAN")}
DEFAULTS = {"vsknn": {"k": 100, "sample_size": 1000}, "vstan": {"k": 500, "sample_size": 1000}}


class SessionKNN:
    """Nearest sessions. The model is fitted in one call, so it is evaluated once."""

    def __init__(self, kind: str, folder: Path, options: dict[str, Any]) -> None:
        sys.path.insert(0, str(folder))
        module, name = CLASSES[kind]
        self.options = {**DEFAULTS[kind], **options}
        self.model = getattr(importlib.import_module(f"algorithms.knn.{module}"), name)(**self.options)

    def fit(self, log: Log, clock: Clock) -> None:
        row_E, item_E, time_ms_E = log.training()
        # seconds, as in the framework: its decay constants are in days
        frame = pd.DataFrame({"SessionId": row_E, "ItemId": item_E, "Time": time_ms_E / 1000.0})
        clock.start()
        self.model.fit(frame)
        if not clock.tick(len(frame)):
            clock.finish()

    def scores(self, log: Log, targets: Targets) -> Iterator[Array]:
        """Return the scores; zero for an item that no neighbour has."""
        rows = max(16, SCORES_AT_ONCE // log.warm)
        total = len(targets.row_N)
        answers = self._answers(log, targets)
        for start in range(0, total, rows):
            s_CI = np.zeros((min(rows, total - start), log.warm))
            for s_I in s_CI:
                found = next(answers)
                s_I[np.fromiter(found, np.int64, len(found)) - 1] = list(found.values())
            yield s_CI

    def _answers(self, log: Log, targets: Targets) -> Iterator[dict[int, float]]:
        """Return item -> score for each target. Sessions are read click by click, because the neighbourhood grows with them."""
        warm_item = log.warm_item
        warm_time = log.time_ms[log.item <= log.warm] / 1000.0
        model, session, at = self.model, -1, 0
        for row, first, last in zip(targets.row_N, targets.first_N, targets.last_N, strict=True):
            if row != session:
                session, at = row, first
                model.session_items, model.relevant_sessions, model.dwelling_times = [], set(), []
            history = warm_item[first:last].tolist()
            # the neighbourhood that earlier clicks would have collected if each had been queried
            for item in history[at - first : -1]:
                model.relevant_sessions = model.relevant_sessions | model.sessions_for_item(item)
            at = last
            if not history:
                yield {}
                continue
            model.session_items = history
            yield self._answer(history, float(warm_time[last - 1]))

    def _answer(self, history: list[int], time_s: float) -> dict[int, float]:
        model = self.model
        clicks = getattr(model, "last_n_clicks", None)
        items = history if clicks is None else history[-clicks:]
        dwelling = [[]] if hasattr(model, "dwelling_time") else []
        neighbours = model.find_neighbors(items, items[-1], -1, *dwelling, time_s)
        scores: dict[int, float] = model.score_items(neighbours, items, time_s)
        return scores
