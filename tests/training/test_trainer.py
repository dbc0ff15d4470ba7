import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from spoiling import spoiling
from torch import Tensor

import reprise.training.stages.fit_corrections as corrections_module
import reprise.training.trainer as trainer_module
from reprise.cli.commands.export import training_metadata
from reprise.config import spec
from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError, DataError, DivergedError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.markov import Markov
from reprise.models.corrections.fitting import Fit
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.testing import worlds
from reprise.training import Recipe, RunOptions, TrainingConfig, train
from reprise.training.checkpoint import read_tensors
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import GBCE, BPRMax, SampledSoftmax, TOP1Max
from reprise.training.run_directory import RunDirectory
from reprise.training.tracking.callbacks import StopTraining
from reprise.training.train_step import precision_for
from reprise.training.trainer import Trainer

SMALL = Recurrent(size=16, layers=1, dropout=0.1, item_dropout=0.1, cooccurrence=0, repeats=0)
SPARSE = Recurrent(size=16, layers=1, dropout=0.1, item_dropout=0.1, sparse=True, cooccurrence=0, repeats=0)
QUICK = TrainingConfig(
    epochs=2, events_per_batch=128, bptt_steps=8, metric="mrr@5", learning_rate=0.01, refit=0
)
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)


def checkpoint_tensors(path: Path) -> dict[str, Tensor]:
    return read_tensors(path / "checkpoint.safetensors")[0]


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "rglru", "lru", "mingru", "minlstm"])
def test_recurrent_cells_learn_a_second_order_dependency(cell: str, tmp_path: Path) -> None:
    """The next item is the item two events ago: every cell learns it, a first-order Markov chain does not."""
    dataset = worlds.memory(2, items=8, sequences=200)
    config = TrainingConfig(
        epochs=25, events_per_batch=512, metric="recall@1", learning_rate=0.01, patience=0
    )
    plain = {
        "dropout": 0.0,
        "item_dropout": 0.0,
        "temperature": 0.0,
        "attention": 0,
        "cooccurrence": 0,
        "repeats": 0,
    }
    spec = Recurrent(cell=cell, size=24, layers=1, **plain)  # type: ignore[arg-type]
    model = train(spec, dataset, tmp_path / cell, training=config, options=EXACT)
    ours = evaluate(model, dataset, at=(1,)).metrics["recall@1"].value
    counts = evaluate(Markov().fit(dataset), dataset, at=(1,)).metrics["recall@1"].value
    assert ours > 0.95
    assert counts < 0.5


def test_a_run_directory_holds_recipe_log_metrics_and_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(SMALL, worlds.cycle(), run, training=QUICK, options=EXACT)
    names = {path.name for path in run.iterdir()}
    assert names == {
        "run.json", "recipe.toml", "train.log", "metrics.jsonl", "checkpoint.safetensors", "best.safetensors",
    }  # fmt: skip
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[1]["loss"] < records[0]["loss"]
    assert "epoch 2/2" in (run / "train.log").read_text()
    assert 'cell = "rglru"' in (run / "recipe.toml").read_text()


def test_default_learning_rate_and_batch_size_are_recorded(tmp_path: Path) -> None:
    """Both are derived from the network and the data; the log of the run and the model card contain them."""
    for name, rate, tokens in (("derived", None, 0), ("explicit", 8e-3, 256)):
        training = replace(QUICK, learning_rate=rate, events_per_batch=tokens)
        train(SMALL, worlds.cycle(), tmp_path / name, training=training, options=EXACT)
        log = (tmp_path / name / "train.log").read_text()
        assert "256 events per batch, peak learning rate 0.008" in log
        facts = training_metadata(tmp_path / name)["hyper-parameters"]
        assert (facts["learning_rate"], facts["events_per_batch"]) == (8e-3, 256)
    assert equal(checkpoint_tensors(tmp_path / "derived"), checkpoint_tensors(tmp_path / "explicit"))


ALL_FEATURES = Recurrent(
    size=16,
    layers=1,
    event_dropout=0.1,
    temperature=0.1,
    attention=4,
    cooccurrence=3,
    gaps=True,
    query_time=True,
)
ONE_EPOCH = TrainingConfig(epochs=1, events_per_batch=64, metric="mrr@5", refit=0)
SAMPLED = TrainingConfig(
    epochs=2,
    events_per_batch=64,
    bptt_steps=8,
    metric="mrr@5",
    loss=SampledSoftmax(negatives=Negatives(count=6)),
)


@pytest.mark.parametrize(("model", "training"), [(SMALL, QUICK), (ALL_FEATURES, SAMPLED)])
def test_an_interrupted_run_ends_with_the_same_weights(
    model: Recurrent, training: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after any checkpoint, also inside an epoch, a resumed run is bit for bit the uninterrupted one."""
    dataset = worlds.memory(3, sequences=30)
    options = RunOptions(precision="32-true", accelerator="cpu", threads=1, checkpoint_s=0.0)
    train(model, dataset, tmp_path / "uninterrupted", training=training, options=options)
    save_checkpoint = trainer_module.save_checkpoint
    saves = 0

    def save_and_stop(*args: object) -> None:
        nonlocal saves
        save_checkpoint(*args)  # type: ignore[arg-type]
        saves += 1
        if saves % 4 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer_module, "save_checkpoint", save_and_stop)
    for _ in range(100):
        try:
            train(model, dataset, tmp_path / "interrupted", training=training, options=options)
            break
        except KeyboardInterrupt:
            continue
    assert saves > 8
    assert equal(checkpoint_tensors(tmp_path / "uninterrupted"), checkpoint_tensors(tmp_path / "interrupted"))


@pytest.mark.parametrize("compact", [False, True])
def test_an_interrupted_run_with_a_sparse_table_ends_with_the_same_weights(
    compact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of both optimisers (dense and sparse) is restored."""
    training = replace(SAMPLED, compact_optimizer=compact)
    test_an_interrupted_run_ends_with_the_same_weights(SPARSE, training, tmp_path, monkeypatch)
    slots = {name for name in checkpoint_tensors(tmp_path / "uninterrupted") if name.endswith("items.weight")}
    moments = {"exp_avg_sq"} if compact else {"exp_avg", "exp_avg_sq"}
    names = {f"optimizer.{slot}" for slot in moments | {"step", "row_step", "learning_rate"}}
    assert slots == {f"{name}.items.weight" for name in names | {"model"}}


WITH_COUNTS = Recurrent(cell="gru", size=16, layers=1, attention=0, cooccurrence=3, repeats=0)


def test_cooccurrence_is_fitted_after_the_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After one epoch the network predicts a long cycle badly; the counts predict it completely."""
    dataset = worlds.cycle(items=40, sequences=60)
    model = train(WITH_COUNTS, dataset, tmp_path / "run", training=ONE_EPOCH, options=EXACT, progress=True)
    *_, epoch, fitted = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert epoch["valid mrr@5"] < 0.5 < 0.99 < fitted["valid mrr@5"]
    assert fitted["transitions"]["cases"] == 120
    assert fitted["transitions"]["after"] < 0.5 < fitted["transitions"]["before"]
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("correction by co-occurrence, fitted to 120 validation targets  valid mrr@5 0.")
    assert evaluate(model, dataset, part="valid", at=(5,)).metrics["mrr@5"].value == fitted["valid mrr@5"]


def test_cooccurrence_is_fitted_by_the_loss_of_the_recipe(tmp_path: Path) -> None:
    """With q = 0.5 the loss of an example is at most 2; log loss is unbounded."""
    before = []
    for gce_q in (0.0, 0.5):
        training = replace(ONE_EPOCH, gce_q=gce_q)
        run = tmp_path / str(gce_q)
        train(WITH_COUNTS, worlds.cycle(items=40, sequences=60), run, training=training, options=EXACT)
        before.append(
            json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["transitions"]["before"]
        )
    assert before[0] > 2.5 > 2 > before[1]


def test_without_calibration_examples_there_is_no_cooccurrence(tmp_path: Path) -> None:
    """Every validation event repeats an item, and seen items are excluded."""
    training = replace(QUICK, exclude_seen=True)
    model = train(
        WITH_COUNTS, worlds.cycle(items=5, sequences=30), tmp_path / "run", training=training, options=EXACT
    )
    assert model.cooccurrence is None


def test_cooccurrence_that_lowers_the_metric_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = worlds.cycle(items=8, sequences=60)
    monkeypatch.setattr(corrections_module, "fit_corrections", spoiling(dataset))
    model = train(WITH_COUNTS, dataset, tmp_path / "run", training=QUICK, options=EXACT, progress=True)
    assert capsys.readouterr().err.splitlines()[-1].endswith(" (not kept)")
    assert model.cooccurrence is None


def test_a_run_killed_before_the_cooccurrence_fit_does_it_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = worlds.cycle(items=8, sequences=60)
    model = train(WITH_COUNTS, dataset, tmp_path / "uninterrupted", training=ONE_EPOCH, options=EXACT)

    def stop(*_: object, **__: object) -> Fit:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(corrections_module, "fit_corrections", stop)
        train(WITH_COUNTS, dataset, tmp_path / "interrupted", training=ONE_EPOCH, options=EXACT)
    again = train(WITH_COUNTS, dataset, tmp_path / "interrupted", training=ONE_EPOCH, options=EXACT)
    assert model.cooccurrence is not None
    assert model.cooccurrence.gain.item() != 0
    assert equal(dict(model.state_dict()), dict(again.state_dict()))
    with monkeypatch.context() as patch:
        patch.setattr(corrections_module, "fit_corrections", stop)
        train(WITH_COUNTS, dataset, tmp_path / "interrupted", training=ONE_EPOCH, options=EXACT)


@pytest.mark.parametrize("make", [SampledSoftmax, BPRMax, TOP1Max, GBCE])
def test_a_sparse_table_learns(make: type[SampledSoftmax], tmp_path: Path) -> None:
    config = TrainingConfig(
        epochs=12,
        events_per_batch=128,
        metric="recall@1",
        learning_rate=0.02,
        patience=0,
        loss=make(Negatives(count=6)),
    )
    spec = Recurrent(cell="gru", size=16, layers=1, dropout=0.0, item_dropout=0.0, sparse=True)
    model = train(spec, worlds.cycle(), tmp_path / "run", training=config, options=EXACT)
    assert model.items.sparse
    assert evaluate(model, worlds.cycle(), at=(1,)).metrics["recall@1"].value > 0.9


def test_a_sparse_table_requires_a_loss_with_negatives(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"needs a loss with negatives, such as SampledSoftmax\(\); FullSoftmax\("
    ):
        train(
            SPARSE,
            worlds.cycle(),
            tmp_path / "run",
            training=replace(QUICK, loss=FullSoftmax()),
            options=EXACT,
        )
    assert not (tmp_path / "run").exists()


SCRIPT = """
import sys
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import RunOptions, TrainingConfig, train

train(
    Recurrent(size=16, layers=1, dropout=0.1, item_dropout=0.1),
    worlds.memory(3, sequences=100),
    sys.argv[1],
    training=TrainingConfig(epochs=4, events_per_batch=32, bptt_steps=8, metric="mrr@5", learning_rate=0.01),
    options=RunOptions(precision="32-true", accelerator="cpu", threads=1, checkpoint_s=0.1),
)
"""


def test_a_killed_process_resumes_bit_for_bit(tmp_path: Path) -> None:
    """The process gets SIGKILL inside an epoch, then the same command runs again."""

    def start(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / out)])

    assert start("uninterrupted").wait() == 0
    killed = start("killed")
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert killed.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)
    killed.kill()
    killed.wait()
    assert not json.loads(read_tensors(checkpoint)[1]["progress"])["finished"]
    assert start("killed").wait() == 0
    assert "resumed at epoch" in (tmp_path / "killed" / "train.log").read_text()
    assert equal(checkpoint_tensors(tmp_path / "uninterrupted"), checkpoint_tensors(tmp_path / "killed"))


def test_a_finished_run_is_loaded_without_training(tmp_path: Path) -> None:
    first = train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT)
    before = (tmp_path / "run" / "checkpoint.safetensors").stat().st_mtime_ns
    again = train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT)
    assert (tmp_path / "run" / "checkpoint.safetensors").stat().st_mtime_ns == before
    assert equal(dict(first.state_dict()), dict(again.state_dict()))


def test_another_recipe_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT)
    other = TrainingConfig(epochs=3, events_per_batch=128, bptt_steps=8, metric="mrr@5", learning_rate=0.01)
    with pytest.raises(
        ConfigError, match=r"another recipe\.training\.epochs \(2, now 3\); use the former value"
    ):
        train(SMALL, worlds.cycle(), tmp_path / "run", training=other, options=EXACT)


def test_a_damaged_checkpoint_is_reported(tmp_path: Path) -> None:
    train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match=r"checkpoint\.safetensors is damaged"):
        train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT)


@spec
class NaNLoss:
    """A loss that is always NaN."""

    @property
    def negatives(self) -> None:
        return None

    def __call__(self, query_ND: Tensor, items: object, target_N: Tensor, *rest: object) -> Tensor:
        return query_ND.sum() * float("nan")


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    recipe = Recipe(
        model=SMALL, training=TrainingConfig(loss=NaNLoss(), events_per_batch=128, metric="mrr@5")
    )
    trainer = Trainer(recipe, worlds.cycle(), RunDirectory(tmp_path), EXACT)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    with pytest.raises(
        DivergedError,
        match=r"the loss became nan at step 0 of epoch 1 \(sequences \[\d+, .*not changed by this step\. "
        r"The learning rate was [\d.e-]+; lower training\.learning_rate or training\.max_grad_norm",
    ):
        trainer.fit(show_progress=False)
    assert equal(before, dict(trainer.model.state_dict()))


@spec
class InfiniteGradient:
    """A finite loss whose gradient is not finite."""

    @property
    def negatives(self) -> None:
        return None

    def __call__(self, query_ND: Tensor, items: object, target_N: Tensor, *rest: object) -> Tensor:
        return (query_ND.sum() * 0.0).sqrt()


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    recipe = Recipe(
        model=SMALL, training=TrainingConfig(loss=InfiniteGradient(), events_per_batch=128, metric="mrr@5")
    )
    trainer = Trainer(recipe, worlds.cycle(), RunDirectory(tmp_path), EXACT)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    with pytest.raises(DivergedError, match="the norm of the gradient became nan at step 0"):
        trainer.fit(show_progress=False)
    assert equal(before, dict(trainer.model.state_dict()))


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (Recipe(model=Recurrent(cell="gruu")), RunOptions(), "unknown cell 'gruu'"),
        (Recipe(model=3), RunOptions(), "model must be the spec of a network, such as .*, got 3"),
        (Recipe(model=SMALL, training=TrainingConfig(metric="mrr@05")), RunOptions(), "metric .mrr@05. has no list length"),
        (Recipe(model=SMALL, training=QUICK), RunOptions(accelerator="mps"), "cannot train on accelerator 'mps'"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_creates_no_run_directory(
    recipe: Recipe, options: RunOptions, message: str, tmp_path: Path
) -> None:
    """Otherwise the corrected command would be refused as another run."""
    with pytest.raises(ConfigError, match=message):
        train(recipe, worlds.cycle(), tmp_path / "run", options=options)
    assert not (tmp_path / "run").exists()


def test_a_validation_part_without_targets_is_an_error(tmp_path: Path) -> None:
    dataset = worlds.world([list("abcab"), list("bcabc")], valid=0, test=1)
    with pytest.raises(DataError, match="the validation part has no target"):
        train(SMALL, dataset, tmp_path / "run", training=TrainingConfig(metric="mrr@1"))


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    """On noise the network soon stops improving; the returned weights are those of the best epoch."""
    config = TrainingConfig(
        epochs=40, patience=2, events_per_batch=256, metric="mrr@10", learning_rate=0.02, refit=0
    )
    dataset = worlds.noise(sequences=60)
    model = train(SMALL, dataset, tmp_path / "run", training=config, options=EXACT)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = [record["valid mrr@10"] for record in records]
    assert len(records) < 40
    assert values.index(max(values)) == len(values) - 3
    report = evaluate(model, dataset, part="valid", at=(10,))
    assert report.metrics["mrr@10"].value == pytest.approx(max(values), abs=1e-6)


def test_a_training_part_without_targets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sequence of two events or more"):
        train(SMALL, worlds.world([["a", "b", "c"], ["b", "c", "a"]]), tmp_path / "run",
              training=TrainingConfig(metric="mrr@1"))  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            "ndgc@10",
            r"training\.metric: unknown metric 'ndgc' \(write your own as `module:NAME`\); did you mean 'ndcg'\?",
        ),
        ("ndcg", r"training\.metric: metric 'ndcg' has no list length; write ndcg@10, for instance"),
        ("ndcg@50", r"ranks the first 50 items, but the catalogue has only 12"),
    ],
)
def test_a_wrong_metric_is_an_error_before_training(metric: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(SMALL, worlds.cycle(), tmp_path / "run", training=TrainingConfig(metric=metric))


def test_training_does_not_change_the_global_random_state(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT)
    assert torch.equal(torch.rand(3), expected)


def test_precision_can_be_set() -> None:
    assert precision_for(RunOptions(precision="32-true")) == "32-true"
    assert precision_for(RunOptions()) in ("32-true", "bf16-mixed")


def test_the_state_is_carried_between_batches(tmp_path: Path) -> None:
    """Rows cut every four steps still learn the item three events ago, because the state is carried on."""
    dataset: SequenceDataset = worlds.memory(3, items=6, sequences=150)
    config = TrainingConfig(
        epochs=30, events_per_batch=256, bptt_steps=4, metric="recall@1", learning_rate=0.01, patience=0
    )
    model: SequenceModel = train(
        Recurrent(size=32, layers=1, dropout=0.0, item_dropout=0.0), dataset, tmp_path, training=config,
        options=EXACT,
    )  # fmt: skip
    assert evaluate(model, dataset, at=(1,)).metrics["recall@1"].value > 0.9


def test_without_a_terminal_one_line_per_epoch_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(SMALL, worlds.cycle(), tmp_path / "shown", training=QUICK, options=EXACT, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    train(SMALL, worlds.cycle(), tmp_path / "silent", training=QUICK, options=EXACT)
    assert capsys.readouterr().err == ""


def test_a_loss_without_the_attribute_negatives_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"negatives.*SampledSoftmax"):
        train(SMALL, worlds.cycle(), tmp_path / "run", training=TrainingConfig(loss=print), options=EXACT)


@pytest.mark.parametrize("alignment", ["additive", "dot"])
def test_attention_learns_a_third_order_dependency(alignment: str, tmp_path: Path) -> None:
    """The next item is the item three events ago, which attention over four events sees."""
    dataset = worlds.memory(3)
    model = Recurrent(
        cell="rnn", size=32, layers=1, dropout=0.0, item_dropout=0.0, attention=4, alignment=alignment
    )
    training = TrainingConfig(epochs=8, events_per_batch=256, metric="mrr@1", learning_rate=0.01)
    trained = train(model, dataset, tmp_path / "run", training=training, options=EXACT)
    assert evaluate(trained, dataset, at=(1,)).metrics["recall@1"].value > 0.9


def test_the_epoch_callback_can_stop_the_training(tmp_path: Path) -> None:
    """On resume it is called for the former epochs too, and the run ends like an uninterrupted one."""
    epochs: list[int] = []

    def on_epoch(record: dict[str, Any]) -> None:
        epochs.append(record["epoch"])
        if epochs == [1]:
            raise StopTraining

    with pytest.raises(StopTraining):
        train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT, on_epoch=on_epoch)
    train(SMALL, worlds.cycle(), tmp_path / "run", training=QUICK, options=EXACT, on_epoch=on_epoch)
    assert epochs == [1, 1, 2]
    train(SMALL, worlds.cycle(), tmp_path / "uninterrupted", training=QUICK, options=EXACT)
    assert equal(checkpoint_tensors(tmp_path / "run"), checkpoint_tensors(tmp_path / "uninterrupted"))
