from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich_model import START_S, random_history

from reprise.errors import ConfigError, DataError
from reprise.recommender import Recommender
from reprise.recommender.explain import influences
from reprise.recommender.history import read_history
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.search.quantized_index import QuantizedIndex


def score(shop: Recommender, history: list[str], item: str) -> float:
    index_T = np.array(
        [shop.items.index(one) for one in history if shop.items.index(one) not in (0, 13)], dtype=np.int64
    )
    network = shop._ranker.network
    return float(network.scores(network.fold([EventArrays.of_items(index_T)]))[0, shop.items.index(item) - 1])


def test_an_influence_is_the_score_minus_the_score_without_the_event(shop: Recommender) -> None:
    history = ["p3", "unknown", "p5", "p3", "new", "p8"]
    found = shop.explain(history, "p1")
    whole = score(shop, history, "p1")
    for influence in found:
        without = history[: influence.position] + history[influence.position + 1 :]
        assert influence.influence == pytest.approx(whole - score(shop, without, "p1"), abs=1e-5)


def test_influences_are_in_the_order_of_the_known_events(shop: Recommender) -> None:
    found = shop.explain(["unknown", "p3", "new", "p5", "p3"], "p1")
    assert [(one.position, one.item_id) for one in found] == [(1, "p3"), (3, "p5"), (4, "p3")]


def test_an_empty_history_has_no_influences(shop: Recommender) -> None:
    assert shop.explain([], "p1") == []


def test_explaining_an_item_without_a_vector_is_an_error(shop: Recommender) -> None:
    with pytest.raises(DataError, match=r"^item 'new' has no vector"):
        shop.explain(["p1"], "new")
    with pytest.raises(DataError, match=r"^unknown item 'pp1'; did you mean 'p1'"):
        shop.explain(["p1"], "pp1")


def test_leaving_out_an_event_changes_time_gaps_and_last_items(
    rich_shop: Recommender,
) -> None:
    history: list[Any] = [*random_history(11), ("p3", START_S + 9e7)]
    now = START_S + 1e8

    def score_after(events: list[Any]) -> float:
        return rich_shop.recommend(events, k=1, allow=["p4"], now=now)[0].score

    found = rich_shop.explain(history, "p4", now=now)
    assert [one.position for one in found] == list(range(len(history)))
    for one in found:
        without = history[: one.position] + history[one.position + 1 :]
        assert one.influence == pytest.approx(score_after(history) - score_after(without), abs=1e-4)
    assert found != rich_shop.explain(history, "p4")


@pytest.mark.parametrize("min_items", [1, 1000])
def test_recent_items_are_influenced_through_the_repeat_head(rich_shop: Recommender, min_items: int) -> None:
    """The window has six events; of twelve events some repeat, and leaving one out moves an earlier one into the window."""
    history = random_history(21, 12)
    items = [*(event["item_id"] for event in history), "p0"]
    assert len(set(items)) < len(items)
    read = read_history(history, rich_shop.ranker.catalogue)
    network, index = (
        rich_shop.ranker.network,
        QuantizedIndex(rich_shop.artefact.output_ID, min_items=min_items),
    )
    item_M = rich_shop.ranker.catalogue.indices(items)
    influence_TM = influences(network, index, read.events, item_M, START_S + 1e8)
    versions = [read.events, *(read.events.take(np.delete(np.arange(12), step)) for step in range(12))]
    score_BI = network.scores(network.fold(versions), START_S + 1e8)
    expected_BM = score_BI[:, item_M - 1]
    np.testing.assert_allclose(influence_TM, expected_BM[0] - expected_BM[1:], atol=1e-4)
    plain = replace(network, repeats=None)
    assert np.abs(influences(plain, index, read.events, item_M, START_S + 1e8) - influence_TM).max() > 0.01


def test_influences_of_the_last_events_equal_those_among_all(rich_shop: Recommender) -> None:
    history: list[Any] = ["unknown", *random_history(12), "unknown", ("p3", START_S + 9e7)]
    whole = rich_shop.explain(history, "p4", now=START_S + 1e8)
    for last in (1, 3, len(whole), len(whole) + 5):
        some = rich_shop.explain(history, "p4", now=START_S + 1e8, last=last)
        assert [one.position for one in some] == [one.position for one in whole[-last:]]
        assert [one.item_id for one in some] == [one.item_id for one in whole[-last:]]
        assert [one.influence for one in some] == pytest.approx(
            [one.influence for one in whole[-last:]], abs=1e-5
        )
    assert rich_shop.explain(["unknown"], "p4", last=3) == []
    with pytest.raises(ConfigError, match=r"^last must be at least 1, got 0$"):
        rich_shop.explain(history, "p4", last=0)


def test_explaining_several_items_equals_explaining_each_item(rich_shop: Recommender) -> None:
    read = read_history(random_history(13), rich_shop.ranker.catalogue)
    item_M = np.array([4, 1, 4, 20])
    network = rich_shop.ranker.network
    influence_TM = influences(network, rich_shop.ranker.index, read.events, item_M, np.nan, last=5)
    assert influence_TM.shape == (5, 4)
    for item, influence_T in zip(item_M, influence_TM.T, strict=True):
        alone_T1 = influences(network, rich_shop.ranker.index, read.events, np.array([item]), np.nan)
        assert influence_T == pytest.approx(alone_T1[-5:, 0], abs=1e-5)


def test_earlier_events_are_folded_once(shop: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    network = shop.ranker.network
    advance = type(network.runtime).advance
    monkeypatch.setattr(
        type(network.runtime),
        "advance",
        lambda self, state, x_BD, events: rows.append(len(events)) or advance(self, state, x_BD, events),
    )
    influences(
        network, shop.ranker.index, EventArrays.of_items(np.full(20, 1)), np.array([1, 2, 3]), np.nan, last=4
    )
    assert rows == [1] * 16 + [1, 2, 3, 4]
