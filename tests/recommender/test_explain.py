from typing import Any

import numpy as np
import pytest
from rich_model import START_S, random_history

from reprise.errors import DataError
from reprise.recommender import Recommender
from reprise.recommender.events import Events


def score(shop: Recommender, history: list[str], item: str) -> float:
    index_T = np.array(
        [shop.items.index(one) for one in history if shop.items.index(one) not in (0, 13)], dtype=np.int64
    )
    network = shop._ranker.network
    return float(network.scores(network.fold([Events.of_items(index_T)]))[0, shop.items.index(item) - 1])


def test_an_influence_is_the_score_minus_the_score_without_the_event(shop: Recommender) -> None:
    history = ["p3", "unknown", "p5", "p3", "new", "p8"]
    found = shop.explain(history, "p1")
    whole = score(shop, history, "p1")
    for influence in found:
        without = history[: influence.position] + history[influence.position + 1 :]
        assert influence.influence == pytest.approx(whole - score(shop, without, "p1"), abs=1e-5)


def test_influences_stand_in_the_order_of_the_history_without_its_unknown_events(shop: Recommender) -> None:
    found = shop.explain(["unknown", "p3", "new", "p5", "p3"], "p1")
    assert [(one.position, one.item_id) for one in found] == [(1, "p3"), (3, "p5"), (4, "p3")]


def test_nothing_explains_an_empty_history(shop: Recommender) -> None:
    assert shop.explain([], "p1") == []


def test_an_item_without_a_vector_has_no_score_to_explain(shop: Recommender) -> None:
    with pytest.raises(DataError, match=r"^item 'new' has no vector"):
        shop.explain(["p1"], "new")
    with pytest.raises(DataError, match=r"^unknown item 'pp1'; did you mean 'p1'"):
        shop.explain(["p1"], "pp1")


def test_without_an_event_times_and_last_items_are_those_of_the_shorter_history(
    rich_shop: Recommender,
) -> None:
    history: list[Any] = [*random_history(11), ("p3", START_S + 9e7)]
    now = START_S + 1e8

    def answered(events: list[Any]) -> float:
        return rich_shop.recommend(events, k=1, allow=["p4"], now=now)[0].score

    found = rich_shop.explain(history, "p4", now=now)
    assert [one.position for one in found] == list(range(len(history)))
    for one in found:
        without = history[: one.position] + history[one.position + 1 :]
        assert one.influence == pytest.approx(answered(history) - answered(without), abs=1e-4)
    assert found != rich_shop.explain(history, "p4")
