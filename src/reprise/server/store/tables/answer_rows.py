"""Rows of the answer log, shared by the stores: an answer as JSON without the user."""

import json
from typing import Any

from reprise.server.store.answer_log import Answer, ShownItem

PAGE = 1_000
"""Number of rows that one query reads."""


def answer_body(answer: Answer) -> str:
    """Return everything of an answer but its id, its time, its tenant and its user, as compact JSON.

    Compact JSON cannot contain an encoded user (`verify_erasure` of the SQLite store).
    """
    items = [list(item) for item in answer.items]
    fields = [answer.model, answer.variant, answer.operation, items]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def answer_of(recommendation_id: str, time_ms: int, tenant: str, user_hash: str, body: Any) -> Answer:
    """Return an answer that was read from a store."""
    model, variant, operation, items = json.loads(body) if isinstance(body, str | bytes) else body
    shown = tuple(ShownItem(*item) for item in items)
    return Answer(recommendation_id, time_ms, tenant, None, model, variant, operation, shown, user_hash)
