import json
from dataclasses import replace
from pathlib import Path

import pytest

import reprise.training.trainer as trainer_module
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.testing import worlds
from reprise.training import RunOptions, TrainingConfig, train
from reprise.training.checkpoint import read_tensors
from reprise.training.run_directory import RunDirectory, load_model
from reprise.training.stages.refit_on_validation import RefitResult

SMALL = Recurrent(size=16, layers=1, dropout=0.0, item_dropout=0.0, cooccurrence=0, repeats=0)
TRAINING = TrainingConfig(epochs=6, events_per_batch=128, metric="mrr@5", learning_rate=0.01, patience=0)
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)


def with_changed_rule(
    items: int = 12, sequences: int = 80, length: int = 20, late: int = 4
) -> SequenceDataset:
    """Return sequences that count up, and in their validation and test parts go from i to 5 i + 1."""
    rows = []
    for start in range(sequences):
        row = [(start + step) % items for step in range(length)]
        for _ in range(2 * late):
            row.append((5 * row[-1] + 1) % items)
        rows.append([f"i{at}" for at in row])
    return worlds.world(rows, valid=late, test=late)


def trained(dataset: SequenceDataset, out: Path, training: TrainingConfig = TRAINING) -> SequenceModel:
    return train(SMALL, dataset, out, training=training, options=EXACT)


def mrr(model: SequenceModel, dataset: SequenceDataset, part: str = "test") -> float:
    return evaluate(model, dataset, part=part, at=(5,)).metrics["mrr@5"].value  # type: ignore[arg-type]


def test_the_refit_learns_a_change_in_the_validation_part(tmp_path: Path) -> None:
    dataset = with_changed_rule()
    without = trained(dataset, tmp_path / "without", replace(TRAINING, refit=0))
    with_it = trained(dataset, tmp_path / "with", replace(TRAINING, refit=12))
    assert mrr(with_it, dataset) > mrr(without, dataset) + 0.1
    found = json.loads((tmp_path / "with" / "metrics.jsonl").read_text().splitlines()[-1])["refit"]
    assert 1 <= found["passes"] <= 12
    assert found["after"] > found["before"]


def test_a_refitted_network_cannot_be_evaluated_on_the_validation_part(tmp_path: Path) -> None:
    """The run can still be loaded with the weights before the refit."""
    dataset = with_changed_rule()
    model = trained(dataset, tmp_path / "run")
    with pytest.raises(ConfigError, match=r'learned the validation part.*load_run\(RUN, before="valid"\)'):
        mrr(model, dataset, "valid")
    chosen = load_model(RunDirectory(tmp_path / "run"), dataset, before="valid")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = max(record["valid mrr@5"] for record in records if "epoch" in record)
    assert mrr(chosen, dataset, "valid") == pytest.approx(best, abs=1e-6)
    assert mrr(chosen, dataset) < mrr(model, dataset)


def test_a_refit_that_does_not_help_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = worlds.cycle()
    model = train(SMALL, dataset, tmp_path, training=TRAINING, options=EXACT, progress=True)
    assert not RunDirectory(tmp_path).final.exists()
    assert mrr(model, dataset, "valid") == 1.0
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(
            "refit on the validation part: none, it does not improve mrr@5 (on the later half, 1.0000)"
        )
    )


def test_there_is_no_refit_without_two_halves(tmp_path: Path) -> None:
    """Only one sequence has a validation part, so the later half is empty."""
    dataset = with_changed_rule(sequences=8)
    valid_end = dataset.train_end.copy()
    valid_end[0] = dataset.valid_end[0]
    trained(replace(dataset, valid_end=valid_end), tmp_path)
    assert not RunDirectory(tmp_path).final.exists()


def test_a_run_killed_during_the_refit_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = with_changed_rule()
    spec = replace(SMALL, cooccurrence=3)
    train(spec, dataset, tmp_path / "uninterrupted", training=TRAINING, options=EXACT)

    def stop(*_: object, **__: object) -> RefitResult:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer_module, "refit_on_validation", stop)
        train(spec, dataset, tmp_path / "interrupted", training=TRAINING, options=EXACT)
    train(spec, dataset, tmp_path / "interrupted", training=TRAINING, options=EXACT)
    first, second = (
        read_tensors(tmp_path / name / "final.safetensors")[0] for name in ("uninterrupted", "interrupted")
    )
    assert all(first[name].equal(second[name]) for name in first)
    records = [
        (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        for name in ("uninterrupted", "interrupted")
    ]
    assert [json.loads(line).keys() for line in records[0]] == [
        json.loads(line).keys() for line in records[1]
    ]
    assert json.loads(records[1][-1])["refit"]["passes"] > 0
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "refit_on_validation", stop)
        train(spec, dataset, tmp_path / "interrupted", training=TRAINING, options=EXACT)


def test_items_without_training_events_are_not_targets(tmp_path: Path) -> None:
    """They have no trained vector; their events are skipped."""
    rows = [[f"i{(start + step) % 12}" for step in range(20)] + ["new"] + ["i1", "i2"] for start in range(40)]
    dataset = worlds.world(rows, valid=2, test=1)
    assert mrr(trained(dataset, tmp_path), dataset) > 0
