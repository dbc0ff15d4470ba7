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
from reprise.training.refit_on_validation import Refit
from reprise.training.run_directory import RunDirectory, load_model

SMALL = Recurrent(size=16, layers=1, dropout=0.0, item_dropout=0.0, transitions=0)
TRAINING = TrainingConfig(epochs=6, tokens=128, metric="mrr@5", learning_rate=0.01, patience=0)
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)


def turned(items: int = 12, sequences: int = 80, length: int = 20, late: int = 4) -> SequenceDataset:
    """Each sequence counts up, and from its validation part on it jumps from i to 5 i + 1."""
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


def test_what_changed_in_the_validation_part_is_learned_at_last(tmp_path: Path) -> None:
    dataset = turned()
    without = trained(dataset, tmp_path / "without", replace(TRAINING, refit=0))
    with_it = trained(dataset, tmp_path / "with", replace(TRAINING, refit=12))
    assert mrr(with_it, dataset) > mrr(without, dataset) + 0.1
    found = json.loads((tmp_path / "with" / "metrics.jsonl").read_text().splitlines()[-1])["refit"]
    assert 1 <= found["passes"] <= 12
    assert found["after"] > found["before"]


def test_a_network_that_learned_the_validation_part_is_not_asked_about_it(tmp_path: Path) -> None:
    """The run can still be opened as it was chosen."""
    dataset = turned()
    model = trained(dataset, tmp_path / "run")
    with pytest.raises(ConfigError, match=r'learned the validation part.*load_run\(RUN, before="valid"\)'):
        mrr(model, dataset, "valid")
    chosen = load_model(RunDirectory(tmp_path / "run"), dataset, before="valid")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = max(record["valid mrr@5"] for record in records if "epoch" in record)
    assert mrr(chosen, dataset, "valid") == pytest.approx(best, abs=1e-6)
    assert mrr(chosen, dataset) < mrr(model, dataset)


def test_what_does_not_help_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = worlds.cycle()
    model = train(SMALL, dataset, tmp_path, training=TRAINING, options=EXACT, progress=True)
    assert not RunDirectory(tmp_path).final.exists()
    assert mrr(model, dataset, "valid") == 1.0
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("validation not learned  mrr@5 of its later half 1.0000")
    )


def test_half_a_sequence_judges_nothing(tmp_path: Path) -> None:
    """One sequence has a validation part, so there is no later half."""
    dataset = turned(sequences=8)
    valid_end = dataset.train_end.copy()
    valid_end[0] = dataset.valid_end[0]
    trained(replace(dataset, valid_end=valid_end), tmp_path)
    assert not RunDirectory(tmp_path).final.exists()


def test_a_run_killed_in_its_last_passes_does_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = turned()
    spec = replace(SMALL, transitions=3)
    train(spec, dataset, tmp_path / "whole", training=TRAINING, options=EXACT)

    def stop(*_: object, **__: object) -> Refit:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer_module, "refit", stop)
        train(spec, dataset, tmp_path / "stopped", training=TRAINING, options=EXACT)
    train(spec, dataset, tmp_path / "stopped", training=TRAINING, options=EXACT)
    whole, stopped = (read_tensors(tmp_path / name / "final.safetensors")[0] for name in ("whole", "stopped"))
    assert all(whole[name].equal(stopped[name]) for name in whole)
    records = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "stopped")]
    assert [json.loads(line).keys() for line in records[0]] == [
        json.loads(line).keys() for line in records[1]
    ]
    assert json.loads(records[1][-1])["refit"]["passes"] > 0
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "refit", stop)
        train(spec, dataset, tmp_path / "stopped", training=TRAINING, options=EXACT)


def test_items_that_training_never_saw_are_not_learned(tmp_path: Path) -> None:
    """They have no vector; their events are passed over."""
    rows = [[f"i{(start + step) % 12}" for step in range(20)] + ["new"] + ["i1", "i2"] for start in range(40)]
    dataset = worlds.world(rows, valid=2, test=1)
    assert mrr(trained(dataset, tmp_path), dataset) > 0
