import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import reprise.training.validation as validation_module
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import RunOptions, TrainingConfig, train
from reprise.training.recipe import CHEAP_EVENTS, MIN_SEQUENCES
from reprise.training.validation import EpochValidation, Validation, described

SMALL = Recurrent(size=8, layers=1, cooccurrence=0, repeats=0)
CONFIG = TrainingConfig(
    epochs=2, events_per_batch=256, metric="mrr@5", learning_rate=0.01, refit=0, validation_sequences=20
)
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)


@pytest.mark.parametrize(
    ("sequences", "events", "expected"),
    [
        (5_000, CHEAP_EVENTS, 5_000),
        (8_000, 2 * CHEAP_EVENTS, 4_000),
        (6_000, 10 * CHEAP_EVENTS, MIN_SEQUENCES),
        (1_500, 10 * CHEAP_EVENTS, 1_500),
    ],
)
def test_a_large_validation_part_is_sampled_by_default(sequences: int, events: int, expected: int) -> None:
    assert TrainingConfig().validation_sequences_for(sequences, events) == expected


@pytest.mark.parametrize(
    ("items", "expected"), [(100_000, 50_000), (1_000_000, 5_000), (10_000_000, MIN_SEQUENCES)]
)
def test_more_items_make_a_smaller_sample(items: int, expected: int) -> None:
    """50,000 sequences with two targets: ranking 100,000 targets among 100,000 items is affordable."""
    scores = 100_000 * items
    assert TrainingConfig().validation_sequences_for(50_000, CHEAP_EVENTS, scores) == expected


def test_what_follows_the_epochs_is_sampled_only_if_it_is_very_expensive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """60 sequences with two targets among 12 items: 1,440 scores."""
    dataset = worlds.cycle(sequences=60)
    begin_U, end_U = dataset.part("valid")
    monkeypatch.setattr(validation_module, "MIN_SEQUENCES", 5)
    drawn = {}
    for limit in (1440, 720, 1):
        monkeypatch.setattr(validation_module, "MAX_SCORES", limit)
        whole = Validation(replace(CONFIG, validation_sequences=None), dataset)
        drawn[limit] = int((whole.dataset.valid_end > begin_U).sum())
    assert drawn == {1440: 60, 720: 30, 1: 5}
    assert np.array_equal(Validation(CONFIG, dataset).dataset.valid_end, end_U)


@pytest.mark.parametrize(("field", "expected"), [(0, 5_000), (700, 700), (9_000, 5_000)])
def test_the_number_of_validated_sequences_can_be_set(field: int, expected: int) -> None:
    config = TrainingConfig(validation_sequences=field)
    assert config.validation_sequences_for(5_000, 10 * CHEAP_EVENTS) == expected


def test_a_sample_has_whole_sequences_and_is_the_same_in_every_run() -> None:
    dataset = worlds.cycle(sequences=60)
    first, second = (EpochValidation(CONFIG, dataset) for _ in range(2))
    begin_U, end_U = dataset.part("valid")
    sampled_U = first.validation.dataset.valid_end
    drawn_U = sampled_U == end_U
    assert drawn_U.sum() == 20 < (end_U > begin_U).sum()
    assert np.array_equal(sampled_U[~drawn_U], begin_U[~drawn_U])
    assert np.array_equal(second.validation.dataset.valid_end, sampled_U)


def test_a_sample_estimates_the_metrics_of_the_whole_part() -> None:
    """Untrained scores are noise, so the intervals of different samples contain the value of all sequences."""
    dataset = worlds.noise(items=12, sequences=400)
    torch.manual_seed(0)
    model = SMALL.build(dataset.sizes).eval()
    whole = Validation(CONFIG, dataset)(model, nullcontext())["mrr@5"]
    found = EpochValidation(replace(CONFIG, validation_sequences=100), dataset)(model, nullcontext())
    assert found.sample is not None
    assert found.sample.metric.value == found.metrics["mrr@5"]
    assert found.sample.metric.low < whole < found.sample.metric.high


def test_a_sampled_epoch_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = worlds.cycle(sequences=60)
    train(SMALL, dataset, tmp_path / "run", training=CONFIG, options=EXACT, progress=True)
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    drawn = record["sample"]
    assert (drawn["sequences"], drawn["of"]) == (20, 60)
    assert drawn["low"] <= record["valid mrr@5"] <= drawn["high"]
    text = f"{record['valid mrr@5']:.4f} [{drawn['low']:.4f}, {drawn['high']:.4f}] on 20 of 60 sequences"
    assert described(record, "mrr@5") == text
    assert f"  valid mrr@5 {text}" in capsys.readouterr().err.splitlines()[0]


def test_the_correction_is_judged_on_the_whole_validation_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sample of 20 targets never has the value that all 120 targets have before the correction."""
    dataset = worlds.cycle(items=40, sequences=60)
    recipe = replace(SMALL, cooccurrence=3)
    one_epoch = replace(CONFIG, epochs=1)
    train(recipe, dataset, tmp_path / "run", training=one_epoch, options=EXACT, progress=True)
    bare = train(SMALL, dataset, tmp_path / "bare", training=one_epoch, options=EXACT)
    whole = Validation(CONFIG, dataset)(bare, nullcontext())["mrr@5"]
    assert f"valid mrr@5 {whole:.4f} -> " in capsys.readouterr().err.splitlines()[-1]
