"""A user without known events gets what is popular at the time of the request, and evaluation ranks the same list."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.data.popular_items import ContextTable, Moment, PopularItems, popular_shares
from reprise.errors import DataError
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import rank_targets
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.popular_fallback import popular_fallback
from reprise.recommender import Recommender, UserHistory
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.ranker import HistorySummary
from reprise.testing.worlds import world

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def seasons() -> SequenceDataset:
    """600 users of 60 days, the last ten days with other items; in the test part a new item precedes a known one."""
    day = np.arange(600) // 10
    rows = [["new", "newer"] if one >= 40 else ["old", "older"] for one in day.tolist()]
    dataset = world([*rows, *[["cold", item] for item in ("new", "older", "new")]], valid=0, test=0)
    start_ms = np.append(day, [61, 65, 600]) * DAY_MS
    valid_end = dataset.valid_end.copy()
    valid_end[-3:] = dataset.offset[-4:-1]
    return replace(
        dataset,
        time_ms=np.repeat(start_ms, 2) + np.arange(dataset.events) % 2 * 60_000,
        train_end=valid_end,
        valid_end=valid_end,
        items=replace(dataset.items, warm=4),
    )


@pytest.fixture(scope="module")
def network(seasons: SequenceDataset) -> SequenceModel:
    torch.manual_seed(0)
    return Recurrent(size=4, layers=1).build(seasons.sizes)


@pytest.fixture(scope="module")
def shop(network: SequenceModel, seasons: SequenceDataset) -> Recommender:
    return Recommender(network, seasons)


def test_the_list_depends_on_the_time_of_the_request(shop: Recommender, seasons: SequenceDataset) -> None:
    assert shop.recommend([], k=1, now=seasons.time_ms[-6] / 1000).item_ids == ["new"]
    assert shop.recommend(["cold"], k=1, now=4000 * 86_400).item_ids == ["older"]
    reason = shop.recommend([], k=1, now=seasons.time_ms[-6] / 1000)[0].reason
    assert reason.startswith("popular this ") and reason.endswith(", because the history has no known item")


@pytest.mark.parametrize("timed", [True, False])
def test_evaluation_ranks_the_list_of_the_moment(
    shop: Recommender, network: SequenceModel, seasons: SequenceDataset, timed: bool
) -> None:
    ranks = rank_targets(network, seasons, EvaluationProtocol(query_time=timed))
    assert len(ranks.position_N) == 3
    for position, greater in zip(ranks.position_N.tolist(), ranks.greater_N.tolist(), strict=True):
        now = seasons.time_ms[position] / 1000 if timed else None
        answer = shop.recommend(["cold"], k=4, now=now).item_ids
        target = seasons.items.item_ids([int(seasons.item[position])])[0]
        assert answer.index(target) == greater


def test_a_saved_model_keeps_the_popular_items(shop: Recommender, tmp_path: Path) -> None:
    shop.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    for now in (None, 60 * 86_400, 4000 * 86_400):
        assert again.recommend([], k=4, now=now) == shop.recommend([], k=4, now=now)


def test_a_model_without_popular_items_has_the_shares_of_the_training_events(
    shop: Recommender, seasons: SequenceDataset
) -> None:
    """Models of earlier versions have none."""
    facts = {name: value for name, value in shop.artefact.metadata.items() if name != "popular"}
    older = Recommender.of(replace(shop.artefact, metadata=facts))
    found = older.recommend([], k=4, now=60 * 86_400)
    assert [one.score for one in found] == sorted(popular_shares(seasons.table, 4).tolist(), reverse=True)


def test_popular_items_are_counted_once_for_each_network(
    network: SequenceModel, seasons: SequenceDataset
) -> None:
    found = popular_fallback(network, seasons)
    assert popular_fallback(network, seasons) is found
    assert popular_fallback(network, replace(seasons, item=seasons.item.copy())) is not found
    network.learned_before = "test"
    refitted = popular_fallback(network, seasons)
    network.learned_before = "valid"
    assert refitted is not found


def test_filters_apply_to_the_list_of_a_moment(shop: Recommender) -> None:
    now = 60 * 86_400
    best, second, third, _ = shop.recommend([], k=4, now=now).item_ids
    assert shop.recommend([], k=2, now=now, deny=[best]).item_ids == [second, third]


def test_each_user_of_a_batch_gets_the_list_of_the_own_moment(shop: Recommender) -> None:
    summary = HistorySummary(0, 0, np.empty(0, dtype=np.int64))
    state = shop.ranker.network.runtime.initial_state(2)
    filters = read_filters(shop.ranker.catalogue, [], None, False)
    now_s_B = np.array([60 * 86_400.0, 4000 * 86_400.0])
    first, second = shop.ranker.rank(state, [summary] * 2, 1, filters, now_s_B)
    assert (first.item_ids, second.item_ids) == (["new"], ["older"])


@pytest.fixture(scope="module")
def french_shop(shop: Recommender) -> Recommender:
    """The same model with a popular item of its own in France."""
    table = ContextTable("country", ("FR", "UK"), np.array([[0, 0, 0, 9], [0] * 4], dtype=np.float32))
    popular = replace(shop.ranker.popular, contexts=(table,))
    tensors = {f"popular.{name}": array for name, array in popular.to_tensors().items()}
    facts = shop.artefact.metadata | {"popular": popular.to_json()}
    return Recommender.of(
        replace(shop.artefact, metadata=facts, tensors={**shop.artefact.tensors, **tensors})
    )


def test_attributes_of_the_user_choose_the_list(french_shop: Recommender) -> None:
    last = french_shop.items.item_ids([4])[0]
    french = UserHistory([], {"country": "FR", "age": 30})
    found = french_shop.recommend(french, k=1)
    assert found.item_ids == [last]
    assert found[0].reason.startswith("popular in FR, ")
    assert french_shop.recommend(UserHistory(["cold"], {"country": "FR"}), k=1).item_ids == [last]
    plain = french_shop.recommend([], k=4)
    assert plain.item_ids[0] != last
    for other in (UserHistory(), UserHistory([], {"country": "IT"}), UserHistory([], {"country": None})):
        assert french_shop.recommend(other, k=4) == plain
    both = french_shop.recommend_many([french, []], k=1)
    assert [one.item_ids for one in both] == [[last], plain.item_ids[:1]]
    assert list(french_shop.generate(french, 1, temperature=0)) == [last]


def test_attributes_do_not_change_a_history_with_known_events(french_shop: Recommender) -> None:
    found = french_shop.recommend(UserHistory(["old"], {"country": "FR"}), k=4)
    assert found == french_shop.recommend(["old"], k=4)


@pytest.mark.parametrize("attributes", ["FR", ["FR"], {1: "FR"}, None])
def test_attributes_that_are_not_a_mapping_are_refused(attributes: Any) -> None:
    with pytest.raises(
        DataError, match=r"the attributes of a user are a mapping of column to value, got .*; pass them like"
    ):
        UserHistory([], attributes)


def test_an_unknown_time_is_the_end_of_the_log(shop: Recommender) -> None:
    popular: PopularItems = shop.ranker.popular
    assert popular.at(Moment()) is popular.at(Moment(popular.end_s))
