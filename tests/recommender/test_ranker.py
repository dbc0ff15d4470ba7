import re
from typing import Any

import numpy as np
import pytest

from reprise.data.popular_items import Moment
from reprise.errors import ConfigError
from reprise.recommender import Recommender
from reprise.recommender.generate import DecodingOptions, continue_state
from reprise.recommender.ranker import NO_EVENTS, NOT_FINITE


@pytest.mark.parametrize("history", [[], ["unknown"], ["new", "new"]])
def test_without_a_known_event_the_popular_items_are_recommended(
    shop: Recommender, history: list[str]
) -> None:
    result = shop.recommend(history, k=4)
    assert result.item_ids == shop.items.item_ids([1, 2, 3, 4])
    assert {one.reason for one in result} == {f"popular items, {NO_EVENTS}"}
    assert [one.score for one in result] == sorted((one.score for one in result), reverse=True)
    assert result.skipped == len(history)


def test_popular_items_obey_the_lists(shop: Recommender) -> None:
    first, second, third = shop.recommend([], k=3).item_ids
    assert shop.recommend([], k=2, deny=[first]).item_ids == [second, third]
    assert shop.recommend([], k=3, allow=[third, second], exclude_seen=True).item_ids == [second, third]


def test_the_reason_states_the_number_of_events(shop: Recommender) -> None:
    assert shop.recommend(["p1"], k=1)[0].reason == "based on 1 event"
    assert shop.recommend(["p1", "new", "p2"], k=1)[0].reason == "based on 2 events"


def test_ranks_start_at_one_and_scores_descend(shop: Recommender) -> None:
    result = shop.recommend(["p1"], k=12)
    assert [one.rank for one in result] == list(range(1, 13))
    assert [one.score for one in result] == sorted((one.score for one in result), reverse=True)


def test_recommendations_have_the_titles_of_the_item_table(shop: Recommender) -> None:
    titles = {one.item_id: one.title for one in shop.recommend(["p1"], k=12)}
    assert titles == {**{f"p{item}": f"Product {item}" for item in range(11)}, "p11": None}


def test_fewer_than_k_items_are_returned_if_fewer_pass_the_filters(shop: Recommender) -> None:
    result = shop.recommend(["p1"], k=10, allow=["p3", "p5", "gone"])
    assert sorted(map(str, result.item_ids)) == ["p3", "p5"]
    assert result.unknown_allowed == 1


@pytest.mark.parametrize("k", [13, 10**9, np.int64(2**62)])
def test_a_k_above_the_catalogue_gives_all_items(shop: Recommender, k: int) -> None:
    for history in (["p1"], []):
        assert shop.recommend(history, k=k) == shop.recommend(history, k=12)
        assert shop.recommend(history, k=k, diversity=0.5) == shop.recommend(history, k=12, diversity=0.5)
    assert shop.session().recommend(k) == shop.recommend([], k=12)


@pytest.mark.parametrize("k", [0, -3, np.int64(0)])
def test_k_below_one_is_an_error(shop: Recommender, k: int) -> None:
    with pytest.raises(ConfigError, match=r"^k must be at least 1, got"):
        shop.recommend(["p1"], k=k)


@pytest.mark.parametrize("k", ["3", 2.5, None, True, 1e9, float("nan"), [3]])
def test_k_must_be_a_whole_number(shop: Recommender, k: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(f'k must be a whole number, got {k!r}')}$"):
        shop.recommend(["p1"], k=k)


def test_k_may_be_a_numpy_integer(shop: Recommender) -> None:
    assert shop.recommend(["p1"], k=np.int64(3)) == shop.recommend(["p1"], k=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_users_whose_state_is_not_finite_get_the_popular_items(
    shop: Recommender, number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other users of the batch get their own items."""
    histories = [["p1"], [], ["p2", "p3"], ["p4"]]
    expected = shop.recommend_many(histories, k=5)
    popular = shop.recommend([], k=5)
    network, query = type(shop.ranker.network), type(shop.ranker.network).query

    def broken(self: Any, state: Any, now_s: Any = np.nan) -> Any:
        query_BD = query(self, state, now_s)
        # the rows are sorted by length: 2 events, 1 event, 1 event; the user without events has no query
        query_BD[0 if len(query_BD) > 1 else slice(None), 3] = number
        return query_BD

    monkeypatch.setattr(network, "query", broken)
    found = shop.recommend_many(histories, k=5)
    assert found[2].item_ids == popular.item_ids
    assert [one.score for one in found[2]] == [one.score for one in popular]
    assert {one.reason for one in found[2]} == {f"popular items, {NOT_FINITE}"}
    for row in (0, 1, 3):
        assert found[row] == expected[row]
    single = shop.recommend(["p1"], k=5, deny=popular.item_ids[:1])
    assert single.item_ids == shop.recommend([], k=5, deny=popular.item_ids[:1]).item_ids


def test_a_state_that_is_not_finite_is_continued_like_one_without_events(shop: Recommender) -> None:
    network, share_I = shop.ranker.network, shop.ranker.popular.at(Moment()).share_I
    state = {name: np.full_like(array, np.nan) for name, array in network.runtime.initial_state(1).items()}
    options = DecodingOptions(seed=3)
    found = continue_state(network, state, True, 4, options, share_I)
    assert found == continue_state(network, network.runtime.initial_state(1), False, 4, options, share_I)
