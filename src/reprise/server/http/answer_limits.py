"""Limits of what an API key learns from answers: numbers of the model, lengths of lists, rare items, and requests per minute.

The limits make it harder to find out from answers what a user did or what the model learned. They do not prevent it, see
docs/privacy.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from reprise.server.http.api_errors import ApiError

Scores = Literal["exact", "rounded", "ranks"]
SCORES: tuple[str, ...] = get_args(Scores)
DECIMALS = 1
"""Number of decimals of rounded numbers."""
MODEL_NUMBERS = frozenset({
    "score", "influence", "contribution", "propensity", "log_probability", "probability", "same_time", "expected_s",
    "median_s", "seconds", "after_s",
})  # fmt: skip
"""Fields of answers that the model has computed as numbers."""


@dataclass(frozen=True)
class AnswerLimits:
    """The limits of one API key. By default there are none."""

    scores: Scores = "exact"
    """`exact`; `rounded`: numbers of the model have one decimal; `ranks`: they are null, and only the order remains."""
    max_k: int | None = None
    """Maximum number of items in an answer. None: the maximum of the server."""
    min_users: int = 0
    """Minimum number of users with events of an item, in the log of the model, for the item to be in an answer."""
    requests_per_minute: int | None = None
    """Number of requests per minute in each process of the server. None: no limit."""

    def item_count(self, asked: int, name: str, *, is_default: bool) -> int:
        """Return the number of items to answer with.

        Args:
            asked: Number of items in the request.
            name: Field of the request, for messages.
            is_default: Whether the request has no number of its own.

        Raises:
            ApiError: The request asks for more items than the key allows.
        """
        if self.max_k is None or asked <= self.max_k:
            return asked
        if is_default:
            return self.max_k
        raise ApiError(
            "forbidden",
            f"{name} is {asked}, and this API key gets at most {self.max_k} items",
            f"send {name}: {self.max_k} or less",
        )

    def apply(self, answer: Any) -> Any:
        """Return an answer whose numbers of the model are rounded or null, as the key demands."""
        if self.scores == "exact":
            return answer
        if isinstance(answer, Mapping):
            return {
                name: self._number(value) if name in MODEL_NUMBERS else self.apply(value)
                for name, value in answer.items()
            }
        return [self.apply(part) for part in answer] if isinstance(answer, list) else answer

    def _number(self, value: float | None) -> float | None:
        return None if value is None or self.scores == "ranks" else round(value, DECIMALS)


NO_LIMITS = AnswerLimits()
