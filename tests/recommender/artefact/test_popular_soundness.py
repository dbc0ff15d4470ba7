"""Popular items of a saved model that do not fit the model are refused."""

from typing import Any

import numpy as np
import pytest

from reprise.data.popular_items import HOUR, ContextTable, PopularItems
from reprise.errors import ArtefactError
from reprise.recommender.artefact.popular_soundness import check_popular


def sound() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    share_I = np.array([0.5, 0.3, 0.2], dtype=np.float32)
    tables = (
        ContextTable("country", ("FR", "DE"), np.zeros((2, 2), dtype=np.float32)),
        ContextTable(HOUR, tuple(range(24)), np.zeros((24, 3), dtype=np.float32)),
    )
    popular = PopularItems(share_I, share_I, share_I, 100.0, 1000.0, 1e9, tables)
    return popular.to_json(), popular.to_tensors()


def test_saved_popular_items_are_sound() -> None:
    check_popular(*sound(), scored=3)
    static = PopularItems.static(np.array([0.5, 0.5], dtype=np.float32))
    check_popular(static.to_json(), static.to_tensors(), scored=2)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (None, "are described by None"),
        ({}, r"are described by \{\}"),
        ({"half_life_s": 0}, "have 0 as half_life_s"),
        ({"entry_smoothing": "many"}, "have 'many' as entry_smoothing"),
        ({"end_s": None}, "have a half-life, but no time of the last event"),
        ({"half_life_s": None}, "have arrays that do not fit"),
        ({"contexts": {}}, r"have \{\} as contexts"),
        ({"contexts": []}, "have arrays that do not fit"),
        ({"contexts": [{"name": "country"}]}, "without a name of its own or without values"),
        ({"contexts": [{"name": HOUR, "values": [1]}]}, r"have the values \[1\] of time.hour"),
        ({"contexts": [{"name": "country", "values": [["FR"]]}]}, "neither text nor a number"),
    ],
)
def test_facts_that_do_not_fit_are_refused(facts: Any, message: str) -> None:
    right, tensors = sound()
    wrong = right | facts if facts else facts
    with pytest.raises(ArtefactError, match=f"^the popular items .*{message}.*; export the model again$"):
        check_popular(wrong, tensors, scored=3)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("overall", np.ones(2, dtype=np.float32), "do not fit"),
        ("recent", None, "do not fit"),
        ("other", np.ones(3, dtype=np.float32), "do not fit"),
        ("context.country", np.zeros((3, 2), dtype=np.float32), "do not fit"),
        ("context.country", np.zeros((2, 4), dtype=np.float32), "do not fit"),
        ("context.country", np.full((2, 2), 1e4, dtype=np.float32), "numbers out of range"),
        ("entry", -np.ones(3, dtype=np.float32), "numbers out of range"),
        ("entry", np.ones(3), "an array 'entry' of another type"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: np.ndarray | None, message: str) -> None:
    facts, tensors = sound()
    changed = {key: value for key, value in (tensors | {name: array}).items() if value is not None}
    with pytest.raises(ArtefactError, match=f"^the popular items have .*{message}"):
        check_popular(facts, changed, scored=3)
