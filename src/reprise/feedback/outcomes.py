"""Impressions and what followed from them: the answers of a server joined with the events of its users.

Shape letters: N impressions, an item at a position of an answer each; K kinds of events; A answers.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reprise.argument_checks import whole
from reprise.arrays import AnyArray, BoolArray, Float64Array, Int64Array
from reprise.server.store.answer_log import Answer, Response

DAY_MS = 86_400_000
CLOCK_ERROR_MS = 60_000
"""Time by which an event may be before its answer, in milliseconds: clocks of browsers and servers differ."""
DEFAULT_KIND = "event"
"""Name of the kind of events that name none."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Impressions with their responses. A response counts once for each impression and kind."""

    answers: Sequence[Answer]
    """Answers of the period, A of them."""
    answer_N: Int64Array
    """Number of the answer of each impression, from 0."""
    user_N: Int64Array
    """Number of the user of each impression. An answer without a user counts as a user of its own."""
    position_N: Int64Array
    """Position of the item in its answer, from 1."""
    propensity_N: Float64Array
    """Probability with which exploration drew the item; NaN: the model ranked it."""
    response_NK: BoolArray
    """Whether an event of each kind followed from the impression."""
    kinds: tuple[str, ...]
    """Names of the kinds of events, K of them."""
    unmatched: int = 0
    """Number of events that belong to none of the impressions: another item, another user, a late event, an unknown id."""

    def items(self) -> list[str]:
        """Return the id of the item of each impression."""
        return [item.item_id for answer in self.answers for item in answer.items]

    def responded(self, kind: str | None = None) -> BoolArray:
        """Return whether an event of a kind followed from each impression, [N]; None: of any kind."""
        if kind is None:
            any_N: BoolArray = np.logical_or.reduce(self.response_NK, axis=1)
            return any_N
        if kind not in self.kinds:
            return np.zeros(len(self.answer_N), np.bool_)
        kind_N: BoolArray = self.response_NK[:, self.kinds.index(kind)]
        return kind_N

    def groups(self, by: str) -> dict[str, BoolArray]:
        """Return the mask of the impressions, [N], of each `model` or `variant`. Answers without a variant have no mask."""
        name_A = [getattr(answer, by) for answer in self.answers]
        masks = {}
        for name in sorted({name for name in name_A if name is not None}):
            own_A = np.array([other == name for other in name_A])
            masks[name] = own_A[self.answer_N]
        return masks


def match_responses(
    answers: Iterable[Answer],
    responses: Iterable[Response],
    window_ms: int = DAY_MS,
    *,
    by_item: bool = False,
) -> Outcomes:
    """Join answers with the events that followed from them.

    An event follows from an answer if it carries its `recommendation_id`, names an item of it, belongs to the same user and
    happens within the window. Answers without items give no impressions.

    Args:
        answers: Answers of one tenant.
        responses: Events of the tenant, each once.
        window_ms: Time after an answer within which an event counts, in milliseconds.
        by_item: Whether an event without the id of a known answer follows from the latest answer to the user with its item
            within the window. Such events would partly have happened without the recommendation.

    Raises:
        ConfigError: the window is not a whole number above 0.
    """
    window_ms = whole("window_ms", window_ms)
    rows = _Rows([*answers])
    found: set[tuple[int, str]] = set()
    counts: Counter[bool] = Counter()
    for response in responses:
        row = rows.of_id(response, window_ms)
        if row is None and by_item and response.recommendation_id not in rows.place_of_id:
            row = rows.of_item(response, window_ms)
        counts[row is None] += 1
        if row is not None:
            found.add((row, response.kind or DEFAULT_KIND))
    kinds = tuple(sorted({kind for _, kind in found}))
    response_NK = np.zeros((rows.count, len(kinds)), np.bool_)
    for row, kind in found:
        response_NK[row, kinds.index(kind)] = True
    items = [item for answer in rows.answers for item in answer.items]
    return Outcomes(
        rows.answers,
        np.repeat(np.arange(len(rows.answers)), rows.size_A),
        np.repeat(_user_numbers(rows.answers), rows.size_A),
        np.array([n for size in rows.size_A for n in range(1, size + 1)], np.int64),
        np.array([np.nan if item.propensity is None else item.propensity for item in items], np.float64),
        response_NK,
        kinds,
        counts[True],
    )


class _Place(NamedTuple):
    time_ms: int
    row: int


class _Rows:
    """Numbers of the impressions, by answer and item."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers
        self.size_A: AnyArray = np.array([len(answer.items) for answer in answers], np.int64)
        self.count = int(self.size_A.sum())
        self.place_of_id = {answer.recommendation_id: place for place, answer in enumerate(answers)}
        self._first_A = np.cumsum(self.size_A) - self.size_A
        self._shown: defaultdict[tuple[str, str], list[_Place]] = defaultdict(list)
        for answer, first in zip(answers, self._first_A.tolist(), strict=True):
            for n, item in enumerate(answer.items):
                if answer.user_hash:
                    self._shown[answer.user_hash, item.item_id].append(_Place(answer.time_ms, first + n))

    def of_id(self, response: Response, window_ms: int) -> int | None:
        """Return the impression that an event names."""
        place = self.place_of_id.get(response.recommendation_id)
        if place is None:
            return None
        answer = self.answers[place]
        same_user = not answer.user_hash or answer.user_hash == response.user_hash
        if not same_user or not -CLOCK_ERROR_MS <= response.time_ms - answer.time_ms <= window_ms:
            return None
        for n, item in enumerate(answer.items):
            if item.item_id == response.item_id:
                return int(self._first_A[place]) + n
        return None

    def of_item(self, response: Response, window_ms: int) -> int | None:
        """Return the latest impression of the item of an event for its user."""
        shown = self._shown.get((response.user_hash, response.item_id), ())
        before = [place for place in shown if 0 <= response.time_ms - place.time_ms <= window_ms]
        return max(before).row if before else None


def _user_numbers(answers: Sequence[Answer]) -> Int64Array:
    numbers: dict[str, int] = {}
    keys = [answer.user_hash or f"answer {answer.recommendation_id}" for answer in answers]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def per_user(user_N: Int64Array, value_N: AnyArray) -> Float64Array:
    """Return the sums of values over the impressions of each user that occurs, [U]."""
    _, place_N = np.unique(user_N, return_inverse=True)
    return np.bincount(place_N, value_N).astype(np.float64)
