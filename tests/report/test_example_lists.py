"""The lists of the examples are those of a model that reads one event at a time."""

import numpy as np
import pytest
import torch

from reprise.data.dataset import Part, SequenceDataset
from reprise.evaluation.evaluator import evaluate_ranks
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import rank_targets
from reprise.evaluation.ranking.tiles import MISS
from reprise.evaluation.stats.target_sample import TargetSample
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.models.batch import Event
from reprise.models.counts.counting import item_counts
from reprise.models.scorer import Scorer
from reprise.report.example_lists import ExampleObserver, ExampleTopK, choose_examples, describe_examples
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


def example_lists(
    model: Scorer,
    dataset: SequenceDataset,
    protocol: EvaluationProtocol,
    options: EvaluationOptions | None = None,
) -> ExampleTopK:
    """Evaluate a model, and return its lists for the examples."""
    observer = ExampleObserver(choose_examples(dataset, protocol), dataset.items.warm)
    _, ranks = evaluate_ranks(model, dataset, protocol, options or EvaluationOptions(leaks=False), [observer])
    return observer.result(ranks)


def test_examples_are_spread_over_the_sequences_with_enough_history(shop: SequenceDataset) -> None:
    protocol = EvaluationProtocol()
    row_X, position_X = choose_examples(shop, protocol)
    first_U, last_U = protocol.target_bounds(shop)
    assert row_X.tolist() == [0, 2, 4, 5, 6, 8]
    assert (position_X - shop.offset[row_X] >= 3).all()
    assert (position_X >= first_U[row_X]).all() and (position_X < last_U[row_X]).all()


def test_short_sequences_are_examples_if_there_are_no_longer_ones() -> None:
    log = worlds.world([["a", "b", "a"], ["b", "a", "b"]], valid=0, test=1)
    assert choose_examples(log, EvaluationProtocol()).position_X.tolist() == [2, 5]


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_lists_and_ranks_equal_those_of_one_event_at_a_time(
    shop: SequenceDataset, part: Part, exclude_seen: bool
) -> None:
    protocol = EvaluationProtocol(part, at=(2,), exclude_seen=exclude_seen)
    examples, model = choose_examples(shop, protocol), Markov(smoothing=0.3).fit(shop)
    found = example_lists(model, shop, protocol)
    if part == "valid":
        model.count(shop, before="valid")
    every = rank_targets(model, shop, protocol)
    greater = dict(zip(every.position_N.tolist(), every.greater_N.tolist(), strict=True))
    for place, (row, position) in enumerate(zip(*examples, strict=True)):
        state = model.initial_state(1)
        before = shop.item[shop.offset[row] : position]
        for item in before.tolist():
            none = torch.zeros(1)
            state = model.advance(state, Event(torch.tensor([item]), none.double(), none.long(), none))
        s_I = model.scores(state)[0].clone()
        if exclude_seen:
            s_I[before[before <= shop.items.warm].astype(int) - 1] = -torch.inf
        order = s_I.argsort(descending=True, stable=True) + 1
        listed = [item for item in order.tolist() if s_I[item - 1] > -torch.inf]
        assert [item for item in found.item_XK[place].tolist() if item] == listed[:10]
        if found.rank_X[place]:
            assert found.rank_X[place] > greater[position]
        else:
            assert greater[position] == 2**31 - 1


def test_examples_do_not_change_the_report_nor_depend_on_the_batches(shop: SequenceDataset) -> None:
    """The lists of a report are shorter than those of the examples; neither moves the other."""
    protocol, model = EvaluationProtocol(at=(1, 3)), Markov(smoothing=0.3).fit(shop)
    observer = ExampleObserver(choose_examples(shop, protocol), shop.items.warm)
    alone = evaluate_ranks(model, shop, protocol, EvaluationOptions()).report
    assert (
        evaluate_ranks(model, shop, protocol, EvaluationOptions(), [observer]).report.metrics == alone.metrics
    )
    for options in (EvaluationOptions(lists=False), EvaluationOptions(events_per_batch=7, max_steps=3)):
        found = example_lists(model, shop, protocol, options)
        assert found.item_XK.tolist() == observer.item_XK.tolist()


def test_equal_scores_are_in_the_order_of_the_catalogue(shop: SequenceDataset) -> None:
    count_I = item_counts(shop, before="test")
    found = example_lists(Popularity().fit(shop), shop, EvaluationProtocol(at=(3,))).item_XK[0]
    assert len(set(count_I.tolist())) < len(count_I)
    assert found.tolist() == sorted(found.tolist(), key=lambda item: (-count_I[item - 1], item))


def test_examples_are_described_with_titles_if_there_are_some(shop: SequenceDataset) -> None:
    protocol = EvaluationProtocol(at=(3,))
    lists = {"Markov": example_lists(Markov().fit(shop), shop, protocol)}
    first, *_, last = describe_examples(shop, protocol, choose_examples(shop, protocol), lists)
    assert (first["sequence"], first["earlier"], len(first["history"])) == (0, 2, 6)
    assert [item["title"] for item in first["next"]][-1] == "Late"
    assert (last["earlier"], len(last["history"]), len(last["next"])) == (23, 6, 1)
    titles = {item["id"]: item["title"] for example in (first, last) for item in example["lists"][0]["items"]}
    assert titles["i1"] == "Mug <1>" and titles["i2"] == "i2"
    assert "late" not in titles


def test_examples_of_a_sample_are_sampled_targets(shop: SequenceDataset) -> None:
    protocol = EvaluationProtocol(at=(2,), sample=TargetSample(9))
    row_X, position_X = choose_examples(shop, protocol)
    assert set(position_X.tolist()) <= set(protocol.sampled_positions(shop).tolist())  # type: ignore[union-attr]
    assert (position_X - shop.offset[row_X] >= 3).all()
    found = example_lists(Markov().fit(shop), shop, protocol)
    whole = rank_targets(Markov().fit(shop), shop, EvaluationProtocol(at=(2,)))
    place_X = np.searchsorted(whole.position_N, position_X)
    rank_X = 1 + whole.greater_N[place_X].astype(np.int64) + whole.equal_N[place_X] // 2
    assert found.rank_X.tolist() == np.where(rank_X > MISS, 0, rank_X).tolist()
