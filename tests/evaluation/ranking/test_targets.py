"""Ranks in batches equal those of a scorer that reads one event at a time, as its contract says."""

import io
import sys

import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking import targets
from reprise.evaluation.ranking.targets import rank_targets
from reprise.evaluation.ranking.tiles import MISS
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.models.batch import Event
from reprise.testing.worlds import world


def one_by_one(model, dataset: SequenceDataset, protocol: EvaluationProtocol) -> list[tuple[int, int, int]]:
    """Return (position, greater, equal) of every target, reading one event at a time."""
    found = []
    first, last = dataset.part(protocol.part)
    for row in range(len(dataset)):
        state = model.initial_state(1)
        start = int(dataset.offset[row])
        for position in range(start, int(dataset.offset[row + 1])):
            item = int(dataset.item[position])
            if first[row] <= position < last[row] and position - start >= protocol.min_history:
                now_s = dataset.time_ms[position if protocol.query_time else position - 1] / 1000
                scores = model.scores(state, torch.tensor([now_s], dtype=torch.float64))[0].clone()
                found.append(
                    (position, *counts(scores, item, dataset.item[start:position], protocol.exclude_seen))
                )
            state = model.advance(state, event(dataset, position))
    return found


def counts(scores: torch.Tensor, item: int, before: np.ndarray, exclude_seen: bool) -> tuple[int, int]:
    left = {column + 1: float(score) for column, score in enumerate(scores)}
    if exclude_seen:
        left = {candidate: score for candidate, score in left.items() if candidate not in before}
    if item not in left:
        return MISS, 0
    return sum(s > left[item] for s in left.values()), sum(s == left[item] for s in left.values()) - 1


def event(dataset: SequenceDataset, position: int) -> Event:
    item = int(dataset.item[position])
    return Event(
        torch.tensor([item if item <= dataset.items.warm else 0]),
        torch.tensor([dataset.time_ms[position] / 1000], dtype=torch.float64),
        torch.tensor([int(dataset.kind[position])]),
        torch.tensor([float(dataset.value[position])]),
    )


def triples(ranks) -> list[tuple[int, int, int]]:
    columns = (ranks.position_N.tolist(), ranks.greater_N.tolist(), ranks.equal_N.tolist())
    return list(zip(*columns, strict=True))


CASES = [
    (EvaluationProtocol(), EvaluationOptions()),
    (EvaluationProtocol(part="valid"), EvaluationOptions()),
    (EvaluationProtocol(part="train"), EvaluationOptions()),
    (EvaluationProtocol(exclude_seen=True), EvaluationOptions()),
    (EvaluationProtocol(min_history=6), EvaluationOptions()),
    (EvaluationProtocol(), EvaluationOptions(events_per_batch=16, max_steps=4)),
    (EvaluationProtocol(), EvaluationOptions(events_per_batch=1, max_steps=1)),
    (
        EvaluationProtocol(exclude_seen=True, part="valid", query_time=False),
        EvaluationOptions(events_per_batch=16, max_steps=5),
    ),
]
each_case = pytest.mark.parametrize(("protocol", "options"), CASES)


@each_case
def test_a_vector_scorer_is_ranked_as_one_by_one(hard, fading, protocol, options):
    model = fading(hard.items.warm)
    with torch.no_grad():
        expected = one_by_one(model.eval(), hard, protocol)
    assert triples(rank_targets(model, hard, protocol, options)) == expected


@each_case
@pytest.mark.parametrize("make", [Markov, Popularity])
def test_a_scorer_without_vectors_is_ranked_as_one_by_one(hard, make, protocol, options):
    model = make().fit(hard)
    assert triples(rank_targets(model, hard, protocol, options)) == one_by_one(model, hard, protocol)


def test_every_event_of_the_part_with_history_is_a_target(hard, fading):
    """Of each row's last three events, those that are not its very first."""
    expected = [
        position
        for start, end in zip(hard.offset[:-1], hard.offset[1:], strict=True)
        for position in range(max(start + 1, end - 3), end)
    ]
    ranks = rank_targets(fading(hard.items.warm), hard, EvaluationProtocol())
    assert ranks.position_N.tolist() == expected
    assert [hard.offset[row] < p < hard.offset[row + 1] for row, p in zip(ranks.row_N, expected, strict=True)]


def test_a_scorer_without_vectors_gets_smaller_batches(hard, monkeypatch):
    """A limit of 20 scores and 9 items: two events per batch."""
    model, sizes = Markov().fit(hard), []
    whole = triples(rank_targets(model, hard, EvaluationProtocol()))
    score_batch = model.score_batch
    monkeypatch.setattr(
        model, "score_batch", lambda b, s: (sizes.append(b.item_BT.numel()), score_batch(b, s))[1]
    )
    monkeypatch.setattr(targets, "MAX_SCORES_PER_BATCH", 20)
    assert triples(rank_targets(model, hard, EvaluationProtocol())) == whole
    assert max(sizes) == 2


def test_half_precision_is_compared_in_float32(fading):
    """bfloat16 has no number between 256 and 258."""
    dataset = world([list("abab")])
    model = fading(dataset.items.warm).bfloat16()
    ranks = rank_targets(model, dataset, EvaluationProtocol())
    assert ranks.equal_N.tolist() == [0]


def test_training_mode_and_gradients_are_restored(hard, fading):
    """Evaluation runs without dropout; afterwards each module has its former mode."""
    model = fading(hard.items.warm).train()
    model.dropout.eval()
    model.register_module("inner", torch.nn.Dropout())
    first, again = (
        rank_targets(model, hard, EvaluationProtocol()),
        rank_targets(model, hard, EvaluationProtocol()),
    )
    assert first.greater_N.tolist() == again.greater_N.tolist()
    assert (model.training, model.dropout.training, model.inner.training) == (True, False, True)
    assert torch.is_grad_enabled()


def test_training_mode_is_restored_after_an_error(hard, fading):
    model = fading(hard.items.warm + 1).train()
    with pytest.raises(DataError):
        rank_targets(model, hard, EvaluationProtocol())
    assert model.training and torch.is_grad_enabled()


def test_a_part_without_targets_is_an_error(table):
    dataset = world([list("abcd"), list("abcd")])
    with pytest.raises(DataError) as error:
        rank_targets(table([1.0, 2.0]), dataset, EvaluationProtocol(min_history=9))
    assert str(error.value) == (
        "the test part has no target: none of its 2 events has 9 or more before it in its sequence; "
        "choose another part, another split or a smaller min_history"
    )


def test_an_unknown_part_is_an_error(hard, table):
    with pytest.raises(
        ConfigError, match="part must be 'train', 'valid' or 'test', got 'tset'; did you mean 'test'"
    ):
        rank_targets(table([1.0]), hard, EvaluationProtocol(part="tset"))


def test_scores_that_are_not_finite_are_an_error(table):
    """The message names the model and the event."""
    dataset = world([list("abab"), list("baba")])
    with pytest.raises(DataError) as error:
        rank_targets(table([1.0, float("nan")]), dataset, EvaluationProtocol())
    assert str(error.value) == (
        "Table gives a score that is not finite for event 3 of row 0 (sequence 0); "
        "its weights are damaged or its training diverged"
    )


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e38])
def test_vectors_that_are_not_finite_or_overflow_are_an_error(hard, fading, poison):
    model = fading(hard.items.warm)
    with torch.no_grad():
        model.vectors[3, 1] = poison
    with pytest.raises(DataError, match="Fading gives a score that is not finite for event"):
        rank_targets(model, hard, EvaluationProtocol())


@pytest.mark.parametrize("name", ["Fading", "Table"])
def test_a_model_of_another_catalogue_is_an_error(hard, fading, table, name):
    model = fading(5) if name == "Fading" else table([1.0] * 5)
    with pytest.raises(DataError) as error:
        rank_targets(model, hard, EvaluationProtocol())
    assert str(error.value) == (
        f"{name} scores 5 items, the dataset has {hard.items.warm} warm ones; "
        "evaluate it on the dataset it was made from"
    )


@pytest.mark.parametrize("field", ["events_per_batch", "max_steps"])
def test_batch_sizes_below_one_are_errors(field):
    with pytest.raises(ConfigError, match=f"{field} must be at least 1, got 0"):
        EvaluationOptions(**{field: 0})


@pytest.mark.parametrize(
    ("show", "terminal", "drawn"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_progress_is_shown_on_a_terminal(hard, table, monkeypatch, show, terminal, drawn):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    rank_targets(table([1.0] * hard.items.warm), hard, EvaluationProtocol(), EvaluationOptions(progress=show))
    assert ("evaluating Table" in stream.getvalue()) == drawn


def test_a_sample_of_targets_is_drawn_without_replacement(hard):
    """All of them if there are few; ascending; the same for the same seed."""
    protocol = EvaluationProtocol("test", min_history=3)
    every = [position for position, *_ in one_by_one(Popularity().fit(hard), hard, protocol)]
    assert protocol.sample_targets(hard, len(every), seed=0).tolist() == every
    drawn = protocol.sample_targets(hard, 9, seed=0).tolist()
    assert len(set(drawn)) == 9
    assert set(drawn) < set(every)
    assert drawn == sorted(drawn) == protocol.sample_targets(hard, 9, seed=0).tolist()
    assert drawn != protocol.sample_targets(hard, 9, seed=1).tolist()


def test_an_observer_receives_the_scores_of_its_targets_in_order(hard, fading):
    """Every second target, batch by batch: the observed scores give the same ranks."""

    class Recorder:
        def __init__(self) -> None:
            self.seen = {}

        def select(self, batch):
            return np.flatnonzero(batch.targets()[1] % 2)

        def score_callback(self, batch, selected_M):
            positions = batch.targets()[1][selected_M].tolist()

            def record(s_CI):
                for row in s_CI.clone():
                    self.seen[positions.pop(0)] = row

            return record

    recorder = Recorder()
    options = EvaluationOptions(events_per_batch=20, max_steps=4)
    found = rank_targets(fading(hard.items.warm), hard, EvaluationProtocol(), options, observers=[recorder])
    assert sorted(recorder.seen) == [position for position in found.position_N.tolist() if position % 2]
    for position, greater in zip(found.position_N.tolist(), found.greater_N.tolist(), strict=True):
        item = int(hard.item[position])
        if greater != MISS and position in recorder.seen:
            assert int((recorder.seen[position] > recorder.seen[position][item - 1]).sum()) == greater
