"""Items that are added while a model is in use count as items of one table."""

from typing import Any

import numpy as np
import pytest
from added_goods import COLUMNS, in_one_table, reading_columns
from hypothesis import given, settings
from hypothesis import strategies as st
from rich_model import random_history

from reprise.errors import DataError
from reprise.recommender import Recommendations, Recommender

GOODS: dict[str, dict[str, Any]] = {
    "new lamp": {"colour": "red", "weight": 3, "title": "Lamp", "available": True},
    "new bed": {"colour": "blue", "weight": 90, "title": "Bed"},
    "new vase": {"colour": "green", "available": False},
    "p19": {"colour": "red", "weight": 4, "title": "Old chair"},
}
"""Three new items, and one of the table without training events."""


@pytest.fixture(scope="module")
def shop(rich_shop: Recommender) -> Recommender:
    return reading_columns(rich_shop)


@pytest.fixture(scope="module")
def added(shop: Recommender) -> Recommender:
    """The items are added one by one, among others that are removed again."""
    changed = shop
    for place, (item_id, values) in enumerate(GOODS.items()):
        changed = changed.with_items({f"gone {place}": {"colour": "grey"}}).with_items({item_id: values})
        changed = changed.without_items([f"gone {place}"])
    return changed


@pytest.fixture(scope="module")
def dense(rich_shop: Recommender) -> Recommender:
    return in_one_table(rich_shop, GOODS)


def same(found: Recommendations, expected: Recommendations) -> None:
    """Compare lists up to rounding; items with nearly equal scores may change places."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(
        [one.score for one in found], [one.score for one in expected], rtol=1e-4, atol=1e-4
    )
    score_of = {one.item_id: one.score for one in expected}
    least = min(score_of.values(), default=0.0)
    for one in found:
        assert one.score == pytest.approx(score_of.get(one.item_id, least), rel=1e-4, abs=1e-4)
    titles = {one.item_id: one.title for one in expected}
    assert all(one.title == titles.get(one.item_id, one.title) for one in found)


def mixed_history(seed: int) -> list[dict[str, Any]]:
    """Return events of which a third are of added items."""
    generator = np.random.default_rng(seed)
    history = random_history(seed, int(generator.integers(12)))
    for event in history:
        if generator.random() < 1 / 3:
            event["item_id"] = str(generator.choice(list(GOODS)))
    return history


FILTERS = [
    None,
    {"colour": "red"},
    {"weight": {"max": 10}},
    {"colour": {"not": "blue"}},
    {"available": False},
]


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.sampled_from([1, 5, 30]),
    deny=st.lists(st.sampled_from(["new lamp", "new bed", "p19", "p1", "unknown"]), max_size=3),
    allow=st.none() | st.lists(st.sampled_from([*GOODS, "p2", "p3", "unknown"]), max_size=5),
    exclude_seen=st.booleans(),
    filter=st.sampled_from(FILTERS),
    now=st.sampled_from([None, 1.9e9]),
)
def test_recommendations_are_those_of_one_table(
    added: Recommender, dense: Recommender, seed: int, now: float | None, **options: Any
) -> None:
    history = mixed_history(seed)
    same(added.recommend(history, now=now, **options), dense.recommend(history, now=now, **options))


@pytest.mark.parametrize("diversity", [0.3, 0.9])
def test_diverse_lists_are_those_of_one_table(
    added: Recommender, dense: Recommender, diversity: float
) -> None:
    for seed in range(5):
        history = mixed_history(seed)
        found, expected = (one.recommend(history, 6, diversity=diversity) for one in (added, dense))
        assert found.item_ids == expected.item_ids


def test_sessions_explanations_and_similar_items_know_added_items(
    added: Recommender, dense: Recommender
) -> None:
    history = mixed_history(3)
    lists = []
    for one in (added, dense):
        session = one.session(remember_seen=True)
        for event in history:
            session.add(**event)
        lists.append(session.recommend(30, exclude_seen=True))
        assert session.skipped == 0
    same(*lists)
    found, expected = (one.explain(history, "new bed") for one in (added, dense))
    assert [one.item_id for one in found] == [one.item_id for one in expected]
    np.testing.assert_allclose(
        [one.influence for one in found], [one.influence for one in expected], atol=1e-4
    )
    for item_id in ("new lamp", "p19", "p3"):
        same(added.similar_items(item_id, 30), dense.similar_items(item_id, 30))
    found_path, expected_path = (one.generate(history, 6, beams=2) for one in (added, dense))
    assert found_path == expected_path
    assert found_path.log_probabilities == pytest.approx(expected_path.log_probabilities, abs=1e-4)
    path = added.generate(history, 22, seed=1)
    assert len({*path}) == 22 and "new vase" not in path


def test_a_new_item_is_recommended_and_moves_the_state(shop: Recommender) -> None:
    assert shop.recommend(["new lamp"]).skipped == 1
    added = shop.with_items({"new lamp": GOODS["new lamp"]})
    (one,) = added.recommend(["p1"], allow=["new lamp"])
    assert (one.item_id, one.title) == ("new lamp", "Lamp")
    before, after = added.recommend(["p1"], 20), added.recommend(["p1", "new lamp"], 20)
    assert after.skipped == 0 and before.item_ids != after.item_ids
    assert added.ranker.catalogue.item("new lamp")["weight"] == 3
    assert shop.recommend(["p1"], allow=["new lamp"]) == [], "the recommender itself stays as it is"


def test_a_removed_item_is_unknown_again(shop: Recommender) -> None:
    two = {name: GOODS[name] for name in ("new lamp", "new bed")}
    added = shop.with_items(two).without_items(["new lamp", "new bed"])
    for history in (["p1"], ["p1", "new lamp"]):
        same(added.recommend(history, 30), shop.recommend(history, 30))
    with pytest.raises(DataError, match=r"^unknown item 'new lamp'"):
        added.explain(["p1"], "new lamp")
    with pytest.raises(DataError, match=r"^item 'p1' is not an added item, so it cannot be removed"):
        added.without_items(["p1"])
    # the indices of removed items are used again, so that they do not grow without end
    again = added.with_items({"one": {"colour": "red"}, "two": {"weight": 1}})
    assert again.ranker.catalogue.size == added.ranker.catalogue.size


def test_an_item_keeps_its_index_when_others_come_and_go(shop: Recommender) -> None:
    changed = shop.with_items({"a": {"colour": "red"}, "b": {"colour": "blue"}})
    index = changed.ranker.catalogue.index("b")
    changed = changed.without_items(["a"]).with_items(
        {"c": {"weight": 1}, "d": {"weight": 2}, "b": {"weight": 9}}
    )
    assert changed.ranker.catalogue.index("b") == index == 22
    assert [changed.ranker.catalogue.index(name) for name in "cd"] == [21, 23]


def test_only_changes_of_columns_that_the_model_reads_make_new_vectors(shop: Recommender) -> None:
    encoder = shop._changer.encoder
    before = encoder.encoded  # type: ignore[union-attr]
    changed = shop.with_items({"a": {"colour": "red", "price": 3.5}})
    changed = changed.with_items({"a": {"price": 4.5}, "p19": {"price": 1.0}, "p1": {"colour": "red"}})
    assert encoder.encoded == before + 1  # type: ignore[union-attr]
    assert changed.recommend([], 5, filter={"price": {"min": 4}}).item_ids == ["a"]
    changed = changed.with_items({"a": {"colour": "blue"}, "p19": {"colour": "blue"}})
    assert encoder.encoded == before + 3  # type: ignore[union-attr]
    network, cold = changed.ranker.network, changed.items.index("p19")
    assert np.array_equal(*network.input_of(np.array([21, cold])))
    again = changed.with_items({"p19": {"colour": None}}).ranker.network
    assert np.array_equal(again.input_of(np.array([cold])), shop.artefact.input_ID[[cold - 1]])


def test_an_item_without_content_is_not_added(shop: Recommender) -> None:
    with pytest.raises(
        DataError, match=r"^item 'a' is new, and has no value in a column .* \(colour, weight\); pass"
    ):
        shop.with_items({"b": {"colour": "red"}, "a": {"price": 3}})
    changed = shop.with_items({"b": {"colour": "red"}, "a": {"price": 3}}, skip_undescribed=True)
    assert changed.recommend(["p1"], allow=["a", "b"]).item_ids == ["b"]
    # an added item that loses its content is not one any more
    changed = changed.with_items({"b": {"colour": None}}, skip_undescribed=True)
    assert changed.recommend(["p1"], allow=["a", "b"]) == []


def test_values_of_a_wrong_type_are_errors(shop: Recommender) -> None:
    priced = shop.with_items({"p1": {"price": 3.5}})
    with pytest.raises(DataError, match=r"^column 'price' holds numbers, got 'cheap'"):
        priced.with_items({"a": {"colour": "red", "price": "cheap"}})
    with pytest.raises(DataError, match=r"^'count' belongs to the model"):
        shop.with_items({"a": {"colour": "red", "count": 3}})
    with pytest.raises(DataError, match=r"^item id 7 is of type int"):
        shop.with_items({7: {"colour": "red"}})


def test_a_model_without_content_knows_no_new_items(rich_shop: Recommender) -> None:
    with pytest.raises(DataError, match=r"^unknown item 'new lamp'"):
        rich_shop.with_items({"new lamp": dict.fromkeys(COLUMNS, "red")})
