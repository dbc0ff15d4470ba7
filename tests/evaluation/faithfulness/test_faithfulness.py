"""Measured explanations: exact attributions, completeness, and controls whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

import reprise as rp
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation import measure_explanations
from reprise.evaluation.faithfulness import attributions
from reprise.evaluation.faithfulness.attributions import EventHistory, score_of_baseline, scores_of_parts
from reprise.evaluation.faithfulness.deletion_curves import _curves, _histories
from reprise.models.networks.sequence_model import SequenceModel
from reprise.testing import worlds
from reprise.training import RunOptions


@pytest.fixture(scope="module")
def world() -> SequenceDataset:
    """Blocks of noise, noise, a key, noise and the item of the key: at the end of a history the key is two events back."""
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(200):
        row: list[str] = []
        for _ in range(3):
            key = generator.integers(4)
            first, second, third = generator.integers(6, size=3)
            row += [f"n{first}", f"n{second}", f"k{key}", f"n{third}", f"t{key}"]
        rows.append(row)
    return worlds.world(rows, valid=1, test=1)


@pytest.fixture(scope="module")
def model(world: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> SequenceModel:
    spec = rp.Recurrent(size=32, layers=2, dropout=0.0, item_dropout=0.0, cooccurrence=0, repeats=0)
    training = rp.TrainingConfig(
        epochs=10, events_per_batch=256, learning_rate=0.01, metric="recall@1", refit=0
    )
    options = RunOptions(precision="32-true", accelerator="cpu", threads=1)
    run = tmp_path_factory.mktemp("run") / "run"
    trained = rp.train(spec, world, run, training=training, options=options)
    assert isinstance(trained, SequenceModel)
    return trained


@pytest.fixture(scope="module")
def history(model: SequenceModel, world: SequenceDataset) -> EventHistory:
    return _histories(model, world, 1, 8, 0)[0]


def test_leave_one_out_equals_the_histories_without_each_event(
    model: SequenceModel, history: EventHistory
) -> None:
    item = attributions.top_item(model, history)
    found = attributions.leave_one_out(model, history, item)
    whole = scores_of_parts(model, history, torch.ones(1, len(history), dtype=torch.bool), item)
    for event in range(len(history)):
        rest = [place for place in range(len(history)) if place != event]
        columns = (history.item_T, history.time_s_T, history.kind_T, history.value_T)
        shorter = EventHistory(*(column[rest] for column in columns))
        alone = scores_of_parts(model, shorter, torch.ones(1, len(rest), dtype=torch.bool), item)
        assert float(found[event]) == pytest.approx(float(whole - alone), abs=1e-4)


def test_integrated_gradients_are_complete(model: SequenceModel, history: EventHistory) -> None:
    item = attributions.top_item(model, history)
    found = attributions.integrated_gradients(model, history, item, steps=256)
    whole = scores_of_parts(model, history, torch.ones(1, len(history), dtype=torch.bool), item)
    expected = float(whole) - score_of_baseline(model, history, item)
    assert float(found.sum()) == pytest.approx(expected, rel=0.02, abs=0.02)


def test_the_event_that_decides_is_found(model: SequenceModel, world: SequenceDataset) -> None:
    """Without the key or without the event after it, another item follows: both are the first two of leave-one-out."""
    histories = _histories(model, world, 40, 8, 0)
    hits = dict.fromkeys(attributions.METHODS, 0)
    for one in histories:
        item = attributions.top_item(model, one)
        for name, method in attributions.METHODS.items():
            hits[name] += len(one) - 2 in method(model, one, item).topk(2).indices.tolist()
    assert hits["leave one out"] >= 36, hits
    assert hits["integrated gradients"] >= 30, hits
    assert hits["random"] <= 20, hits


def test_curves_are_means_over_removals(model: SequenceModel, history: EventHistory) -> None:
    item = attributions.top_item(model, history)
    order = attributions.latest_first(model, history, item)
    deletion, insertion = _curves(model, history, item, order)
    count = len(history)
    parts = torch.tensor(
        [[place < count - removed for place in range(count)] for removed in range(count + 1)]
    )
    score = scores_of_parts(model, history, parts, item).double()
    kept = scores_of_parts(model, history, ~parts[1:], item).double()
    assert deletion == pytest.approx(float((score[0] - score[1:]).mean()), abs=1e-5)
    assert insertion == pytest.approx(float((score[0] - kept).mean()), abs=1e-5)


def test_controls_are_worse_and_the_result_is_short(model: SequenceModel, world: SequenceDataset) -> None:
    found = measure_explanations(model, world, users=40, events=8)
    by_name = {one.name: one for one in found.methods}
    for control in ("random", "latest first"):
        high, low = by_name[control].deletion_difference.high, by_name[control].insertion_difference.low
        assert high is not None and high < 0, control
        assert low is not None and low > 0, control
    assert by_name["leave one out"].deletion_difference.value == 0
    assert (found.users, len(repr(found)) < 100) == (40, True)
    assert found.to_dict()["methods"]["leave one out"]["cost"] == 1
    assert "larger is better" in str(found)
    assert "<table" in found._repr_html_()
    again = measure_explanations(model, world, users=40, events=8)
    assert [one.deletion for one in again.methods] == [one.deletion for one in found.methods]


def test_mistakes_are_explained(model: SequenceModel, world: SequenceDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="explanations are measured for single networks"):
        measure_explanations(rp.Markov().fit(world), world)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="events must be at least 3"):
        measure_explanations(model, world, events=2)
    short = worlds.world([["a", "b", "c"], ["b", "c", "a"]], valid=1, test=1)
    network = rp.Recurrent(size=8, layers=1, cooccurrence=0, repeats=0).build(short.sizes)
    with pytest.raises(DataError, match="so there is nothing to explain"):
        measure_explanations(network, short)
