"""Self-check of a model: golden tests, and finite scores after an event of each kind.

Golden tests are requests with their results at export. They show that a saved model still gives the same results. The
requests contain item ids of the catalogue and seeded random numbers; they contain no data of users.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Protocol

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.vocabulary import ItemId, Vocabulary
from reprise.errors import ArtefactError
from reprise.recommender.ranker import NOT_FINITE
from reprise.recommender.recommendations import Recommendations
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork

GOLDEN = "golden"
"""Key of the golden tests in the metadata of an artefact."""
K = 10
"""Number of items per result, if the catalogue has that many."""
TOLERANCE = 1e-4
"""Largest accepted difference of a score, relative to the score or to 1: other processors round differently."""
MAX_BYTES = 20_000
"""Largest size of the golden tests in a manifest. If item ids are very long, there are fewer tests."""
START_S = 1_700_000_000.0
"""Time before the first event of a request."""
GAPS_S = (0.0, 30.0, 600.0, 90_000.0, 2e6)
"""Possible times between two events of a request, in seconds."""
REPEATS_ALONE = "the items of the history alone"
"""Name of the request whose result has only items of its history, so that its scores are those of a repeat head."""
KNOWN_SHARE = 0.8
"""Share of the timestamps, kinds and values that are known; the others are None."""

GoldenTest = dict[str, Any]
"""A request and its result: `about`, `items`, optionally `timestamp`, `kind` and `value` of each event, optionally `now` and
`allow`, and the resulting `ids` and `scores`."""


class Recommend(Protocol):
    """A function with the signature of `Recommender.recommend`, as far as golden tests need it."""

    def __call__(
        self,
        history: Sequence[Mapping[str, Any]],
        k: int,
        *,
        now: float | None,
        allow: Sequence[ItemId] | None,
    ) -> Recommendations:
        """Return the `k` best items after a history, at the time `now`, among the allowed ones."""
        ...


def make_golden_tests(
    recommend: Recommend,
    items: Vocabulary,
    kinds: Sequence[str],
    reads: Sequence[str],
    session_gap_ms: float | None = None,
) -> list[GoldenTest]:
    """Run the requests of the golden tests and return them with their results.

    Args:
        recommend: The model.
        items: Vocabulary of the model.
        kinds: Kinds of event that the model knows.
        reads: Inputs of the model besides items: some of `timestamp`, `kind`, `value` and `now`.
        session_gap_ms: Longest pause within a session, if there is one: the model would not read the events before it.

    Raises:
        ArtefactError: a result has scores that are not finite.
    """
    k = min(K, items.scored)
    gaps_s = [gap_s for gap_s in GAPS_S if session_gap_ms is None or gap_s * 1000 <= session_gap_ms]
    golden = [test | _result(recommend, test, k) for test in _requests(items, kinds, reads, gaps_s)]
    for test in golden:
        # The search leaves out items whose scores are not finite, so their result is shorter than that of the first request.
        # That one has no events: its scores are shares of the training events. A list of allowed items can be shorter.
        missing = "allow" not in test and len(test["ids"]) < len(golden[0]["ids"])
        if missing or not all(map(isfinite, test["scores"])):
            raise ArtefactError(
                f"the model has scores that are not finite in the golden test about {test['about']}; train it again"
            )
    while golden and len(json.dumps(golden, indent=2).encode()) > MAX_BYTES:
        golden.pop()
    return golden


def run_golden_tests(recommend: Recommend, items: Vocabulary, golden: Sequence[GoldenTest]) -> None:
    """Run golden tests and compare the results with those at export.

    Raises:
        ArtefactError: a score differs, an item was replaced by another one with a different score, or a test is not valid.
    """
    if not isinstance(golden, list):
        raise ArtefactError(f"the golden tests are {golden!r:.60}, not a list; export the model again")
    for test in golden:
        try:
            difference = _difference(test, _result(recommend, test, min(K, items.scored)))
        except ArtefactError:  # the scores are not finite
            raise
        except (
            Exception
        ) as error:  # if the manifest was edited, any part of a test can be missing or of another type
            raise ArtefactError(
                f"a golden test cannot be run ({type(error).__name__}: {error}); export the model again"
            ) from error
        if difference:
            raise ArtefactError(
                f"the model fails the golden test about {test['about']}: {difference}; "
                "export the model again, or install the version of onnxruntime that it was exported with"
            )


def check_each_kind(network: OnnxNetwork, kinds: int) -> None:
    """Check that all scores after one event of each kind are finite.

    Raises:
        ArtefactError: a score is not finite.
    """
    events = replace(
        EventArrays.of_items(np.ones(kinds)),
        time_s=np.full(kinds, START_S),
        kind=np.arange(kinds),
        value=np.ones(kinds, dtype=np.float32),
    )
    state = network.advance(network.runtime.initial_state(kinds), events)
    with np.errstate(all="ignore"):
        finite_K = np.isfinite(network.scores(state, START_S)).all(axis=1)
    if not finite_K.all():
        raise ArtefactError(
            f"the model computes scores that are not finite after an event of kind {int(np.argmin(finite_K))}; train it again"
        )


def _requests(
    items: Vocabulary, kinds: Sequence[str], reads: Sequence[str], gaps_s: Sequence[float]
) -> list[GoldenTest]:
    """Return the requests, from the shortest history to the longest."""
    generator = np.random.default_rng(0)
    one, other = generator.integers(1, items.scored + 1, size=2).tolist()
    indices: dict[str, list[int]] = {
        "no event": [],
        "the most popular items": list(range(1, min(3, items.scored) + 1)),
        "repeated items": [one, other, one, one, other],
        REPEATS_ALONE: [one, other, other, one, other],
        "five items": generator.integers(1, items.scored + 1, size=5).tolist(),
        "fifty events": generator.integers(1, items.scored + 1, size=50).tolist(),
    }
    return [
        {"about": about, "items": items.item_ids(index)}
        # in a large catalogue the items of the history may not be among the best, whose scores are compared
        | ({"allow": items.item_ids(sorted(set(index)))} if about == REPEATS_ALONE else {})
        | _inputs(kinds, reads, generator.choice(gaps_s, size=len(index)), generator)
        for about, index in indices.items()
    ]


def _inputs(
    kinds: Sequence[str], reads: Sequence[str], gap_s_E: AnyArray, generator: np.random.Generator
) -> GoldenTest:
    """Return the inputs that the model reads besides items. One in five is None, because real ones can be unknown."""
    events, time_s = len(gap_s_E), START_S + gap_s_E.cumsum()
    drawn = {
        "timestamp": time_s.tolist(),
        "kind": [kinds[code] for code in generator.integers(len(kinds), size=events).tolist()],
        "value": generator.integers(1, 100, size=events).astype(float).tolist(),
    }
    inputs: GoldenTest = {}
    for name, values in drawn.items():
        known = generator.random(events) < KNOWN_SHARE
        if name in reads:
            inputs[name] = [
                value if keep else None for value, keep in zip(values, known.tolist(), strict=True)
            ]
    return inputs | ({"now": float(time_s[-1]) + 3_600.0} if events and "now" in reads else {})


def _result(recommend: Recommend, test: GoldenTest, k: int) -> GoldenTest:
    history: list[dict[str, Any]] = [{"item_id": item} for item in test["items"]]
    for name in ("timestamp", "kind", "value"):
        for event, value in zip(history, test.get(name, ()), strict=False):
            event[name] = value
    result = recommend(history, k, now=test.get("now"), allow=test.get("allow"))
    if any(one.reason.endswith(NOT_FINITE) for one in result):
        raise ArtefactError(
            f"the model has scores that are not finite in the golden test about {test['about']}; train it again"
        )
    return {"ids": result.item_ids, "scores": [one.score for one in result]}


def _difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """Describe the first difference of two results, or return None.

    Items with nearly equal scores may change places. An item may leave the result, or enter it, if its score is nearly equal
    to the last one.
    """
    if len(expected["ids"]) != len(found["ids"]):
        return f"{len(found['ids'])} items instead of {len(expected['ids'])}"
    if not expected["ids"]:
        return None
    for rank, (before, now) in enumerate(zip(expected["scores"], found["scores"], strict=True), start=1):
        if not _near(before, now):
            return f"the score at rank {rank} is {now:.7g} instead of {before:.7g}"
    last = expected["scores"][-1]
    before_of, now_of = _score_of(expected), _score_of(found)
    for item in {**before_of, **now_of}:
        before, now = before_of.get(item, last), now_of.get(item, last)
        if not _near(before, now):
            return f"item {item!r} is at another rank, with the score {now:.7g} instead of {before:.7g}"
    return None


def _score_of(result: Mapping[str, Any]) -> dict[ItemId, float]:
    return dict(zip(result["ids"], result["scores"], strict=True))


def _near(before: float, now: float) -> bool:
    return abs(now - before) <= TOLERANCE * max(1.0, abs(before))
