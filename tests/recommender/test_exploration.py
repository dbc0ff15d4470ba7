"""Exploration: off it changes nothing; on it gives a share of the slots to rarely shown items, with known probabilities."""

import math
from typing import Any

import numpy as np
import pytest

from reprise.errors import ConfigError
from reprise.recommender import Recommender
from reprise.recommender.exploration import FEW_IMPRESSIONS, Exploration, Impressions
from reprise.recommender.recommendations import Recommendation, Recommendations

HISTORIES: list[list[str]] = [["p1"], ["p2", "p3"], []]


def ranked(ids: str) -> list[Recommendation]:
    return [Recommendation(one, 1.0 - rank / 10, rank, "based on 1 event") for rank, one in enumerate(ids, 1)]


def test_a_share_of_zero_changes_nothing(shop: Recommender) -> None:
    plain = shop.with_exploration(0.0)
    for history in HISTORIES:
        assert plain.recommend(history, k=5) == shop.recommend(history, k=5)
        assert all(one.propensity is None for one in shop.recommend(history, k=5))


def test_equal_seeds_give_equal_lists(shop: Recommender) -> None:
    first, second = (shop.with_exploration(0.4, seed=3) for _ in range(2))
    lists = [[one.recommend(history, k=5) for history in HISTORIES * 5] for one in (first, second)]
    assert lists[0] == lists[1]
    other = shop.with_exploration(0.4, seed=4)
    assert lists[0] != [other.recommend(history, k=5) for history in HISTORIES * 5]


def test_other_items_keep_their_order_and_ranks_are_complete(shop: Recommender) -> None:
    exploring = shop.with_exploration(0.5, seed=0)
    for history in HISTORIES:
        found, best = exploring.recommend(history, k=6), shop.recommend(history, k=6).item_ids
        kept = [one.item_id for one in found if one.propensity is None]
        explored = [one for one in found if one.propensity is not None]
        assert (len(found), len(explored)) == (6, 3)
        assert kept == best[:3]
        assert not {one.item_id for one in explored} & set(best)
        assert [one.rank for one in found] == [1, 2, 3, 4, 5, 6]
        assert all(one.reason.startswith("exploration: shown ") for one in explored)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_share_of_explored_slots_is_right_on_average(share: float) -> None:
    exploration = Exploration(share).seeded(0)
    counts = [exploration.slots(5) for _ in range(4000)]
    assert set(counts) <= {math.floor(share * 5), math.floor(share * 5) + 1}
    # four standard errors of a mean of 4,000 numbers of 0 or 1 are at most 4 * 0.5 / sqrt(4000)
    assert np.mean(counts) == pytest.approx(share * 5, abs=0.032)


def test_lists_and_seen_items_are_respected(shop: Recommender) -> None:
    exploring = shop.with_exploration(0.9, seed=1)
    allow = [f"p{item}" for item in range(8)]
    for _ in range(20):
        found = exploring.recommend(["p1"], k=4, allow=allow, deny=["p2"], exclude_seen=True)
        assert set(found.item_ids) <= set(allow) - {"p1", "p2"}
        assert len(set(found.item_ids)) == 4


def test_there_may_be_too_few_other_items(shop: Recommender) -> None:
    exploring = shop.with_exploration(1.0, seed=1)
    assert exploring.recommend(["p1"], k=12).item_ids == shop.recommend(["p1"], k=12).item_ids
    found = exploring.recommend(["p1"], k=11)
    assert sum(one.propensity is not None for one in found) == 1


def test_items_that_were_shown_often_are_not_explored(shop: Recommender) -> None:
    exploring = shop.with_exploration(0.5, seed=2)
    exploration = exploring.ranker.exploration
    assert exploration is not None
    rare = shop.items.index("p7")
    often = np.array([index for index in range(1, 13) if index != rare])
    exploration.impressions.add(np.repeat(often, FEW_IMPRESSIONS))
    found = exploring.recommend(["p1"], k=4, deny=shop.recommend(["p1"], k=1).item_ids)
    assert {one.item_id for one in found if one.propensity is not None} <= {"p7"}


def test_an_item_is_drawn_with_its_propensity() -> None:
    """Item 1 was shown 3 times and item 2 never, so their widths are as 1 / sqrt(4) to 1: probabilities 1/3 and 2/3."""
    impressions = Impressions()
    impressions.add(np.array([1, 1, 1]))
    exploration = Exploration(1.0, impressions).seeded(0)
    best, others = Recommendations(ranked("x")), ranked("ab")
    drawn = [exploration.mix(best, others, np.array([1, 2]))[0] for _ in range(3000)]
    share = np.mean([one.item_id == "a" for one in drawn])
    # four standard errors of a share of 1/3 in 3,000 draws are 4 * sqrt(2 / 9 / 3000)
    assert share == pytest.approx(1 / 3, abs=0.035)
    assert {one.item_id: one.propensity for one in drawn} == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    assert {one.item_id: one.reason.split(": ")[1] for one in drawn} == {
        "a": "shown 3 times before", "b": "shown 0 times before",
    }  # fmt: skip


def test_impressions_of_all_slots_are_counted(shop: Recommender) -> None:
    exploring = shop.with_exploration(0.5, seed=0)
    exploration = exploring.ranker.exploration
    assert exploration is not None
    shown = [item for _ in range(3) for item in exploring.recommend(["p1"], k=4).item_ids]
    expected = np.zeros(12, dtype=np.int64)
    np.add.at(expected, [shop.items.index(item) - 1 for item in shown], 1)
    assert exploration.impressions.counts(12).tolist() == expected.tolist()


def test_an_added_item_does_not_inherit_the_impressions_of_a_removed_one() -> None:
    impressions = Impressions()
    impressions.follow(2, ["lamp", "bed"])
    impressions.add(np.array([1, 3, 3, 4]))
    impressions.follow(2, ["vase", "bed", "rug"])
    assert impressions.counts(5).tolist() == [1, 0, 0, 1, 0]
    impressions.add(np.array([5]))
    impressions.follow(2, ["vase", "bed"])  # a request that began before the rug was added
    impressions.follow(2, ["vase", "bed", "cup"])
    assert impressions.counts(5).tolist() == [1, 0, 0, 1, 0]


@pytest.mark.parametrize("share", [-0.1, 1.5, "0.1", None, True])
def test_a_share_outside_0_to_1_is_refused(shop: Recommender, share: Any) -> None:
    with pytest.raises(ConfigError, match="explore must be "):
        shop.with_exploration(share)
