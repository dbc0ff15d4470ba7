import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counting_spec import FailsForSeeds
from spoiling import spoiling

import reprise.training.parallel.train_ensemble as ensemble_module
import reprise.training.stages.fit_corrections as corrections_module
import reprise.training.trainer as trainer_module
from reprise.cli.commands.export import training_metadata
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.models.networks.ensemble import Ensemble, EnsembleScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender.recommender import Recommender
from reprise.testing import worlds
from reprise.training import RunOptions, TrainingConfig, train
from reprise.training.checkpoint import read_tensors
from reprise.training.run_directory import RunDirectory, load_model

SMALL = Recurrent(cell="gru", size=16, layers=1, dropout=0.0, item_dropout=0.0, attention=0, cooccurrence=3)
PAIR = Ensemble(SMALL, members=2)
TRAINING = TrainingConfig(epochs=2, events_per_batch=64, metric="mrr@5", learning_rate=0.01, refit=0)
EXACT = RunOptions(seed=5, precision="32-true", accelerator="cpu", threads=1)


def records(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def best_weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "best.safetensors")[0]


def mrr(model: object, dataset: SequenceDataset, part: str = "valid") -> float:
    report = evaluate(model, dataset, part=part, at=(5,))  # type: ignore[arg-type]
    return report.metrics["mrr@5"].value


@pytest.fixture(scope="module")
def log() -> SequenceDataset:
    return worlds.memory(3, sequences=30)


@pytest.fixture(scope="module")
def run(log: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ensemble") / "run"
    train(PAIR, log, out, training=TRAINING, options=EXACT)
    return out


def test_each_member_equals_a_single_run_with_its_seed(
    log: SequenceDataset, run: Path, tmp_path: Path
) -> None:
    """It can be loaded like any run. Its own corrections are not part of the ensemble."""
    for number, seed in ((1, 5), (2, 6)):
        train(SMALL, log, tmp_path / str(number), training=TRAINING, options=replace(EXACT, seed=seed))
        single = best_weights(tmp_path / str(number))
        assert all(
            torch.equal(tensor, single[name])
            for name, tensor in best_weights(run / "members" / str(number)).items()
        )
        combined = best_weights(run)
        for name, tensor in single.items():
            if not name.startswith(("cooccurrence.", "repeat_head.")):
                assert torch.equal(combined[f"members.{number - 1}.{name}"], tensor)


def test_the_run_records_the_metrics_of_the_ensemble(log: SequenceDataset, run: Path) -> None:
    members, corrected = records(run)
    assert members["members"] == 2
    assert corrected["transitions"]["cases"] > 0  # type: ignore[index]
    chosen = load_model(RunDirectory(run), log, before="valid")
    kept = corrected if chosen.cooccurrence is not None else members
    assert mrr(chosen, log) == pytest.approx(kept["valid mrr@5"], abs=1e-6)
    text = (run / "train.log").read_text()
    assert "member 2 of 2, seed 6" in text
    assert "ensemble of 2 members  valid mrr@5" in text
    assert text.count("epoch 2/2") == 2


def test_the_ensemble_is_evaluated_and_exported_like_a_network(
    log: SequenceDataset, run: Path, tmp_path: Path
) -> None:
    model = load_model(RunDirectory(run), log)
    assert isinstance(model, EnsembleScorer)
    assert 0.0 < mrr(model, log, "test") <= 1.0
    Recommender(model, log, training=training_metadata(run)).save(tmp_path / "model")
    shop = Recommender.load(tmp_path / "model")
    assert shop.spec == PAIR
    assert len(shop.recommend([log.items.ids[0]], k=3)) == 3
    assert "ensemble: members 2" in (tmp_path / "model" / "README.md").read_text()


def test_a_finished_ensemble_is_loaded_without_training(
    log: SequenceDataset, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module.Trainer, "fit", None)
    monkeypatch.setattr(ensemble_module, "add_corrections", None)
    before = best_weights(run)
    train(PAIR, log, run, training=TRAINING, options=EXACT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in best_weights(run).items())


def test_members_can_be_trained_beforehand(
    log: SequenceDataset, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For instance on two machines; the ensemble only combines them."""
    for number, seed in ((2, 6), (1, 5)):
        out = tmp_path / "run" / "members" / str(number)
        train(SMALL, log, out, training=TRAINING, options=replace(EXACT, seed=seed))
    monkeypatch.setattr(trainer_module.Trainer, "_epoch", None)
    train(PAIR, log, tmp_path / "run", training=TRAINING, options=EXACT)
    expected = best_weights(run)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in best_weights(tmp_path / "run").items())


def test_a_member_of_another_seed_is_refused(log: SequenceDataset, tmp_path: Path) -> None:
    out = tmp_path / "run" / "members" / "1"
    train(SMALL, log, out, training=TRAINING, options=replace(EXACT, seed=8))
    with pytest.raises(ConfigError, match=r"another seed \(8, now 5\)"):
        train(PAIR, log, tmp_path / "run", training=TRAINING, options=EXACT)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(trainer_module.Trainer, "_end_epoch", 3), (ensemble_module, "add_corrections", 1)],
    ids=["second member", "combining"],
)
def test_an_interrupted_ensemble_ends_with_the_same_weights(
    owner: Any,
    name: str,
    call: int,
    log: SequenceDataset,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted in the second member, or after both members and before they are combined."""
    real, calls = getattr(owner, name), 0

    def stop(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, stop)
        train(PAIR, log, tmp_path / "interrupted", training=TRAINING, options=EXACT)
    assert not (tmp_path / "interrupted" / "best.safetensors").exists()
    train(PAIR, log, tmp_path / "interrupted", training=TRAINING, options=EXACT)
    expected = best_weights(run)
    assert all(
        torch.equal(tensor, expected[name]) for name, tensor in best_weights(tmp_path / "interrupted").items()
    )


def test_cooccurrence_that_lowers_the_metric_is_not_kept(
    log: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections_module, "fit_corrections", spoiling(log))
    pair = replace(PAIR, member=replace(SMALL, repeats=0))
    model = train(pair, log, tmp_path / "run", training=TRAINING, options=EXACT)
    assert model.cooccurrence is None
    assert mrr(model, log) == pytest.approx(records(tmp_path / "run")[0]["valid mrr@5"], abs=1e-6)


def test_the_ensemble_uses_the_refitted_weights_of_its_members(tmp_path: Path) -> None:
    """For the test part, members take part with their weights after the refit on the validation part."""
    rows = []
    for start in range(80):
        row = [(start + step) % 12 for step in range(20)]
        for _ in range(8):
            row.append((5 * row[-1] + 1) % 12)
        rows.append([f"i{at}" for at in row])
    dataset = worlds.world(rows, valid=4, test=4)
    training = TrainingConfig(epochs=4, events_per_batch=128, metric="mrr@5", learning_rate=0.01, refit=6)
    plain = Ensemble(replace(SMALL, cooccurrence=0, repeats=0), 2)
    model = train(plain, dataset, tmp_path / "run", training=training, options=EXACT)
    members = [tmp_path / "run" / "members" / name for name in ("1", "2")]
    assert any((member / "final.safetensors").exists() for member in members)
    chosen = load_model(RunDirectory(tmp_path / "run"), dataset, before="valid")
    assert mrr(model, dataset, "test") > mrr(chosen, dataset, "test") + 0.05
    with pytest.raises(ConfigError, match="learned the validation part"):
        mrr(model, dataset, "valid")


def test_a_wrong_recipe_creates_no_run_directory(log: SequenceDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown cell"):
        train(Ensemble(replace(SMALL, cell="gruu")), log, tmp_path / "run", training=TRAINING)
    with pytest.raises(ConfigError, match="member must be"):
        train(Ensemble(Ensemble()), log, tmp_path / "run", training=TRAINING)
    assert not (tmp_path / "run").exists()


def test_another_number_of_members_is_another_run(log: SequenceDataset, run: Path) -> None:
    with pytest.raises(ConfigError, match=r"another recipe\.model\.members \(2, now 3\)"):
        train(Ensemble(SMALL, 3), log, run, training=TRAINING, options=EXACT)


def test_members_in_parallel_processes_are_those_of_one_process(
    shop: SequenceDataset, tmp_path: Path
) -> None:
    pair = Ensemble(replace(SMALL, cooccurrence=0, repeats=0), members=2)
    for name, workers in (("serial", 1), ("parallel", 8)):
        options = replace(EXACT, workers=workers)
        train(pair, shop, tmp_path / name, training=TRAINING, options=options, progress=True)
    for run in (Path(), Path("members/1"), Path("members/2")):
        expected = best_weights(tmp_path / "serial" / run)
        found = best_weights(tmp_path / "parallel" / run)
        assert expected.keys() == found.keys()
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    text = (tmp_path / "parallel" / "train.log").read_text()
    assert "member 2, seed 6: epoch 2/2  loss " in text
    assert records(tmp_path / "parallel") == records(tmp_path / "serial")


def test_members_that_fail_are_reported_after_the_others_have_finished(
    shop: SequenceDataset, tmp_path: Path
) -> None:
    """The same call resumes, here in one process."""
    (tmp_path / "kill-6").touch()
    pair, out = Ensemble(FailsForSeeds(str(tmp_path)), members=2), tmp_path / "run"
    with pytest.raises(
        ConfigError, match=r"^1 of 2 runs failed \(member 2, seed 6\); the other 1 is finished"
    ):
        train(pair, shop, out, training=TRAINING, options=replace(EXACT, workers=2))
    assert (out / "members" / "1" / "best.safetensors").exists() and not (out / "best.safetensors").exists()
    train(pair, shop, out, training=TRAINING, options=EXACT)
    assert (out / "best.safetensors").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            SMALL,
            "workers = 2 trains members of an ensemble or several seeds in parallel, but this is one network",
        ),
        (PAIR, "worker processes cannot read a dataset in memory"),
    ],
)
def test_workers_that_cannot_be_used_create_no_run(
    model: Any, message: str, log: SequenceDataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(model, log, tmp_path / "run", training=TRAINING, options=replace(EXACT, workers=2))
    assert not (tmp_path / "run").exists()


def test_workers_are_refused_under_torchrun(
    shop: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ConfigError, match=r"workers = 2 trains separate networks, but all processes of torchrun"
    ):
        train(PAIR, shop, tmp_path / "run", training=TRAINING, options=replace(EXACT, workers=2))
