"""Golden questions: what a model answered when it was exported, so that whoever runs it later can see that it still does.

They are made of item ids and seeded numbers alone; nothing in them is of any user.
"""

import json
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from reprise.errors import ArtefactError
from reprise.recommender.recommendations import Recommendations

if TYPE_CHECKING:
    from reprise.recommender.recommender import Recommender

GOLDEN = "golden"
"""The fact of an artefact that holds them."""
K = 10
TOLERANCE = 1e-4
"""Of the larger of a score and 1: other processors round otherwise."""
BYTES = 20_000
"""More than that they may not need in a manifest; with very long ids there are fewer of them."""
START_S = 1_700_000_000.0
GAPS_S = (0.0, 30.0, 600.0, 90_000.0, 2e6)
"""The times between two events; some are not known, as are some values."""

Question = dict[str, Any]


def ask(recommender: "Recommender") -> list[Question]:
    """The golden questions of a model, with its answers: `about`, the events in columns, perhaps `now`, `ids` and `scores`.

    Raises:
        ArtefactError: an answer has scores that are not finite.
    """
    golden = [question | _told(_answer(recommender, question)) for question in _questions(recommender)]
    for question in golden:
        # the search leaves out what is not finite, and popularity is always
        if len(question["ids"]) < len(golden[0]["ids"]) or not all(map(isfinite, question["scores"])):
            raise ArtefactError(
                f"the model has no finite scores for the golden question about {question['about']}; train it again"
            )
    while golden and len(json.dumps(golden, indent=2).encode()) > BYTES:
        golden.pop()
    return golden


def check(recommender: "Recommender") -> None:
    """Ask the golden questions of the artefact again. One that was made without them is only asked for finite answers.

    Raises:
        ArtefactError: a score differs, or an item is another one without being as good.
    """
    golden = recommender.artefact.facts.get(GOLDEN)
    if not golden:
        ask(recommender)
        return
    for question in golden:
        found = _told(_answer(recommender, question))
        difference = _difference(question, found)
        if difference:
            raise ArtefactError(
                f"the model does not answer the golden question about {question['about']} as when it was exported: "
                f"{difference}; export it again, or run it where that version of onnxruntime runs"
            )


def _questions(recommender: "Recommender") -> list[Question]:
    """From the shortest to the longest."""
    warm = recommender.items.warm
    generator = np.random.default_rng(0)
    one, other = generator.integers(1, warm + 1, size=2).tolist()
    indices: dict[str, list[int]] = {
        "no event": [],
        "the commonest items": list(range(1, min(3, warm) + 1)),
        "repeated items": [one, other, one, one, other],
        "five items": generator.integers(1, warm + 1, size=5).tolist(),
        "fifty events": generator.integers(1, warm + 1, size=50).tolist(),
    }
    return [
        {"about": about, "items": recommender.items.item_ids(index)}
        | _read(recommender, len(index), generator)
        for about, index in indices.items()
    ]


def _read(recommender: "Recommender", events: int, generator: np.random.Generator) -> Question:
    """What the network reads of events and of a question besides the items, one None in five."""
    kinds = recommender.artefact.facts["data"]["kinds"]
    time_s = START_S + generator.choice(GAPS_S, size=events).cumsum()
    drawn = {
        "timestamp": time_s.tolist(),
        "kind": [kinds[place] for place in generator.integers(len(kinds), size=events).tolist()],
        "value": generator.integers(1, 100, size=events).astype(float).tolist(),
    }
    read: Question = {}
    for name, values in drawn.items():
        known = generator.random(events) < 0.8
        if name in recommender.reads:
            read[name] = [value if here else None for value, here in zip(values, known.tolist(), strict=True)]
    return read | ({"now": float(time_s[-1]) + 3_600.0} if events and "now" in recommender.reads else {})


def _answer(recommender: "Recommender", question: Question) -> Recommendations:
    history = [{"item_id": item} for item in question["items"]]
    for name in ("timestamp", "kind", "value"):
        for event, value in zip(history, question.get(name, ()), strict=False):
            event[name] = value
    return recommender.recommend(history, min(K, recommender.items.warm), now=question.get("now"))


def _told(answer: Recommendations) -> Question:
    return {"ids": answer.item_ids, "scores": [one.score for one in answer]}


def _difference(asked: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """What is different, in words; items may change places, or leave at the end, where their scores are as good as equal."""
    if len(asked["ids"]) != len(found["ids"]):
        return f"{len(found['ids'])} items instead of {len(asked['ids'])}"
    if not asked["ids"]:
        return None
    for place, (before, now) in enumerate(zip(asked["scores"], found["scores"], strict=True), start=1):
        if not _near(before, now):
            return f"the score at rank {place} is {now:.7g} instead of {before:.7g}"
    last = asked["scores"][-1]
    before_of, now_of = (dict(zip(told["ids"], told["scores"], strict=True)) for told in (asked, found))
    for item in {**before_of, **now_of}:
        before, now = before_of.get(item, last), now_of.get(item, last)
        if not _near(before, now):
            return f"item {item!r} stands elsewhere, with {now:.7g} instead of {before:.7g}"
    return None


def _near(before: float, now: float) -> bool:
    return abs(now - before) <= TOLERANCE * max(1.0, abs(before))
