"""The lists of the examples are those that the model gives when it is asked, event by event."""

import numpy as np
import pytest
import torch

from reprise.data.dataset import Part, SequenceDataset
from reprise.evaluation.ranking.targets import EvaluationPlan, rank_targets
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.models.batch import Event
from reprise.models.cooccurrence.counting import item_counts
from reprise.report.example_lists import answers, choose, described, up_to
from reprise.testing import worlds


@pytest.fixture
def shop() -> SequenceDataset:
    generator = np.random.default_rng(2)
    rows = [
        [f"i{item}" for item in generator.integers(9, size=length)]
        for length in (9, 1, 5, 3, 12, 7, 8, 2, 30)
    ]
    rows[0][-1] = "late"
    return worlds.world(rows, valid=1, test=2, titles={"i1": "Mug <1>", "late": "Late"})


def test_they_are_spread_over_the_sequences_with_enough_before_them(shop: SequenceDataset) -> None:
    walk = EvaluationPlan("test")
    row_X, position_X = choose(shop, walk)
    first_U, last_U = walk.bounds(shop)
    assert row_X.tolist() == [0, 2, 4, 5, 6, 8]
    assert (position_X - shop.offset[row_X] >= 3).all()
    assert (position_X >= first_U[row_X]).all() and (position_X < last_U[row_X]).all()


def test_where_all_are_short_the_short_ones_are_taken() -> None:
    log = worlds.world([["a", "b", "a"], ["b", "a", "b"]], valid=0, test=1)
    assert choose(log, EvaluationPlan("test")).position_X.tolist() == [2, 5]


@pytest.mark.parametrize("part", ["valid", "test"])
def test_what_is_left_has_one_target_each(shop: SequenceDataset, part: Part) -> None:
    walk = EvaluationPlan(part)
    chosen = choose(shop, walk)
    small = up_to(shop, walk, chosen)
    ranks = rank_targets(Popularity().fit(shop), small, walk)
    assert ranks.row_N.tolist() == list(range(len(chosen.row_X)))
    assert (small.item[ranks.position_N] == shop.item[chosen.position_X]).all()


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_lists_and_ranks_are_those_of_the_fold(shop: SequenceDataset, part: Part, exclude_seen: bool) -> None:
    walk = EvaluationPlan(part, exclude_seen=exclude_seen)
    chosen, model = choose(shop, walk), Markov(smoothing=0.3).fit(shop)
    found = answers(model, shop, walk, chosen)
    every = rank_targets(model, shop, walk)
    greater = dict(zip(every.position_N.tolist(), every.greater_N.tolist(), strict=True))
    for place, (row, position) in enumerate(zip(*chosen, strict=True)):
        state = model.initial_state(1)
        before = shop.item[shop.offset[row] : position]
        for item in before.tolist():
            none = torch.zeros(1)
            state = model.advance(state, Event(torch.tensor([item]), none.double(), none.long(), none))
        s_I = model.scores(state)[0].clone()
        if exclude_seen:
            s_I[before[before <= shop.items.warm].astype(int) - 1] = -torch.inf
        order = s_I.argsort(descending=True, stable=True) + 1
        shown = [item for item in order.tolist() if s_I[item - 1] > -torch.inf]
        assert [item for item in found.item_XK[place].tolist() if item] == shown[:10]
        if found.rank_X[place]:
            assert found.rank_X[place] > greater[position]
        else:
            assert greater[position] == 2**31 - 1


def test_equal_scores_stand_in_the_order_of_the_catalogue(shop: SequenceDataset) -> None:
    walk = EvaluationPlan("test")
    count_I = item_counts(shop, before="test")
    found = answers(Popularity().fit(shop), shop, walk, choose(shop, walk)).item_XK[0]
    assert len(set(count_I.tolist())) < len(count_I)
    assert found.tolist() == sorted(found.tolist(), key=lambda item: (-count_I[item - 1], item))


def test_they_are_told_with_titles_where_there_are_some(shop: SequenceDataset) -> None:
    walk = EvaluationPlan("test")
    chosen = choose(shop, walk)
    lists = {"Markov": answers(Markov().fit(shop), shop, walk, chosen)}
    first, *_, last = described(shop, walk, chosen, lists)
    assert (first["sequence"], first["earlier"], len(first["history"])) == (0, 2, 6)
    assert [item["title"] for item in first["next"]][-1] == "Late"
    assert (last["earlier"], len(last["history"]), len(last["next"])) == (23, 6, 1)
    shown = {item["id"]: item["title"] for example in (first, last) for item in example["lists"][0]["items"]}
    assert shown["i1"] == "Mug <1>" and shown["i2"] == "i2"
    assert "late" not in shown
