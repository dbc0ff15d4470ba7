import numpy as np
import pytest

from reprise.errors import DataError
from reprise.recommender import Recommender


def score(shop: Recommender, history: list[str], item: str) -> float:
    index_T = np.array(
        [shop.items.index(one) for one in history if shop.items.index(one) not in (0, 13)], dtype=np.int64
    )
    network = shop._ranker.network
    return float(network.scores(network.fold([index_T]))[0, shop.items.index(item) - 1])


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
