"""Retraining: what is taken over, the gate, repetition and resuming, and what cannot be continued."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from growing_log import OPTIONS, SPEC, TRAINING, log

from reprise.config import to_dict
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.stats.bootstrap import Interval
from reprise.models.items.content_embeddings import ItemContent
from reprise.models.networks.ensemble import Ensemble
from reprise.retraining import Gate, GateResult, prepare_as_before, retrain
from reprise.retraining.former_view import former_view
from reprise.retraining.gate import judge
from reprise.retraining.warm_start import write_warm_start
from reprise.training import Privacy, Recipe, load_run, train
from reprise.training.checkpoint import read_tensors
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer

SHORT = replace(TRAINING, epochs=2)


@pytest.fixture(scope="session")
def start(
    earlier: Path, before: SequenceDataset, now: SequenceDataset, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    run = RunDirectory(tmp_path_factory.mktemp("start"))
    return write_warm_start(Recipe(SPEC, SHORT), now, run, RunDirectory(earlier), before, 1), run


def test_the_split_keeps_its_durations(before: SequenceDataset, now: SequenceDataset) -> None:
    def durations(data: SequenceDataset) -> tuple[int, int]:
        last = int(data.time_ms.max()) + 1
        return data.split["valid_end_ms"] - data.split["train_end_ms"], last - data.split["valid_end_ms"]

    assert durations(now) == durations(before)
    assert now.facts["options"] == before.facts["options"]
    assert now.split["train_end_ms"] > before.split["valid_end_ms"]


def test_kept_items_keep_their_vectors_and_optimiser_state(
    start: Any, earlier: Path, before: SequenceDataset, now: SequenceDataset
) -> None:
    found, run = start
    initial = read_tensors(run.initial)[0]
    weights, checkpoint = (
        read_tensors(earlier / "best.safetensors")[0],
        read_tensors(earlier / "checkpoint.safetensors")[0],
    )
    assert (found.kept_items, found.new_items, found.dropped_items, found.optimizer) == (12, 3, 0, True)
    for item in range(12):
        one, other = now.items.index(f"i{item}"), before.items.index(f"i{item}")
        for new, old in (
            (initial["model.items.weight"], weights["items.weight"]),
            (initial["optimizer.exp_avg.items.weight"], checkpoint["optimizer.exp_avg.items.weight"]),
            (initial["optimizer.exp_avg_sq.items.weight"], checkpoint["optimizer.exp_avg_sq.items.weight"]),
        ):
            assert torch.equal(new[one], old[other])
    cell = [name for name in weights if "items" not in name and weights[name].dim() == 2]
    assert cell and all(torch.equal(initial[f"model.{name}"], weights[name]) for name in cell)
    added = [now.items.index(f"i{item}") for item in (12, 13, 14)]
    assert not initial["optimizer.exp_avg.items.weight"][added].any()


def test_a_new_item_begins_near_its_neighbours(start: Any, now: SequenceDataset) -> None:
    """Item 12 follows item 11, and item 10 two steps before; items 14 and 0 are neighbours too."""
    found, run = start
    table = read_tensors(run.initial)[0]["model.items.weight"]
    vectors = torch.nn.functional.normalize(table - table[1:13].mean(0), dim=1)
    similarity = {
        other: float(vectors[now.items.index("i12")] @ vectors[now.items.index(f"i{other}")])
        for other in range(12)
    }
    assert found.from_neighbours == 3
    nearest = sorted(similarity, key=lambda other: -similarity[other])[:3]
    assert 11 in nearest


def test_the_former_view_has_the_same_targets(before: SequenceDataset, now: SequenceDataset) -> None:
    view = former_view(now, before)
    assert view.items.item_ids(view.item) == now.items.item_ids(now.item)
    assert view.items.ids[: len(before.items)].tolist() == before.items.ids.tolist()
    assert (view.items.warm, view.split) == (before.items.warm, now.split)


def test_retraining_learns_new_items_and_passes_the_gate(
    earlier: Path, now: SequenceDataset, tmp_path: Path
) -> None:
    result = retrain(earlier, now, tmp_path / "new", gate="mrr@5", training=SHORT, options=OPTIONS)
    gate = result.gate
    assert gate.passed and gate.difference.low is not None and gate.difference.low > 0
    assert gate.targets == int((now.offset[1:] - now.valid_end).sum())
    assert gate.shared_targets < gate.targets
    stored = json.loads((tmp_path / "new" / "retrain.json").read_text())
    assert stored["gate"]["passed"] is True
    assert stored["gate"]["new"] == gate.new


def test_the_same_call_repeats_and_resumes_bit_for_bit(
    earlier: Path, now: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, checkpoint_s=0)
    whole = retrain(earlier, now, tmp_path / "whole", gate="mrr@5", training=SHORT, options=options)
    step, calls = Trainer._step, []

    def stopped(self: Trainer, chunk: Any) -> Any:
        calls.append(chunk)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(self, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            retrain(earlier, now, tmp_path / "cut", gate="mrr@5", training=SHORT, options=options)
    resumed = retrain(earlier, now, tmp_path / "cut", gate="mrr@5", training=SHORT, options=options)
    assert resumed.gate == whole.gate
    assert resumed.start == whole.start
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_network_that_is_worse_does_not_pass(
    earlier: Path, before: SequenceDataset, now: SequenceDataset
) -> None:
    """The earlier network takes the place of the new one, first as it is, then with shuffled item vectors."""
    old, _ = load_run(earlier)
    view = former_view(now, before)
    same = judge(old, view, old, before, Gate("mrr@5"))
    assert (same.difference, same.passed) == (Interval(0.0, 0.0, 0.0), True)
    spoiled, _ = load_run(earlier)
    with torch.no_grad():
        spoiled.items.weight[1:] = spoiled.items.weight[1:].flip(0).roll(3, 0)
    worse = judge(spoiled, view, old, before, Gate("mrr@5"))
    assert (worse.passed, worse.new < worse.old) == (False, True)


@pytest.mark.parametrize(
    ("interval", "margin", "passed"),
    [
        (Interval(-0.01, -0.02, 0.001), None, True),
        (Interval(-0.01, -0.02, -0.001), None, False),
        (Interval(-0.01, -0.02, -0.001), 0.03, True),
        (Interval(0.001, -0.04, 0.05), 0.03, False),
        (Interval(0.1), None, True),
        (Interval(0.1), 0.03, False),
    ],
)
def test_the_gate_follows_the_interval(interval: Interval, margin: float | None, passed: bool) -> None:
    gate = GateResult("ndcg@20", margin, 10, 0.2, 0.2, interval, 10, interval)
    assert gate.passed is passed


def test_what_cannot_be_continued_is_named(
    earlier: Path, before: SequenceDataset, now: SequenceDataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="out is the earlier run"):
        retrain(earlier, now, earlier)
    with pytest.raises(ConfigError, match=r"unknown metric|metric"):
        retrain(earlier, now, tmp_path / "new", gate="ndgc@20")
    with pytest.raises(ConfigError, match="margin must be above 0"):
        Gate("mrr@5", margin=-1)
    other = prepare_as_before(log(6, 12), tmp_path / "past", before, split="last:1d,1d")
    with pytest.raises(DataError, match="has therefore learned the targets; use a later log"):
        retrain(earlier, other, tmp_path / "new")
    run = tmp_path / "ensemble"
    manifest = json.loads((earlier / "run.json").read_text())
    for recipe, message in (
        (Recipe(Ensemble(SPEC, members=2), TRAINING), "is an ensemble"),
        (
            Recipe(SPEC, replace(TRAINING, privacy=Privacy(epsilon=1.0, users=60))),
            "was trained with differential privacy",
        ),
    ):
        run.mkdir(exist_ok=True)
        (run / "run.json").write_text(json.dumps({**manifest, "recipe": to_dict(recipe)}))
        with pytest.raises(ConfigError, match=message):
            retrain(run, now, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_another_width_cannot_start_from_the_weights(
    earlier: Path, before: SequenceDataset, now: SequenceDataset, tmp_path: Path
) -> None:
    wider = Recipe(replace(SPEC, size=24), SHORT)
    with pytest.raises(ConfigError, match=r"has the shape .* train from scratch"):
        write_warm_start(wider, now, RunDirectory(tmp_path), RunDirectory(earlier), before, 1)


def test_content_is_kept(before: SequenceDataset, now: SequenceDataset, tmp_path: Path) -> None:
    def priced(data: SequenceDataset) -> SequenceDataset:
        prices = [float(str(one)[1:]) for one in data.items.ids.tolist()]
        return replace(data, table=data.table.append_column("price", pa.array(prices)))

    spec = replace(SPEC, content=ItemContent())
    first, later = priced(before), priced(now)
    train(Recipe(spec, SHORT), first, tmp_path / "run", options=OPTIONS)
    run = RunDirectory(tmp_path / "next")
    run.path.mkdir()
    found = write_warm_start(Recipe(spec, SHORT), later, run, RunDirectory(tmp_path / "run"), first, 1)
    assert (found.new_items, found.from_neighbours) == (3, 0)
    assert run.content.read_bytes() == (tmp_path / "run" / "content.safetensors").read_bytes()
    table = read_tensors(run.initial)[0]["model.items.weight"]
    added = table[[later.items.index(f"i{item}") for item in (12, 13, 14)]]
    assert np.allclose(added[0], added[1])
