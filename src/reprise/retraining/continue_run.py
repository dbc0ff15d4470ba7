"""A run that continues an earlier one on a later dataset, and the gate that it has to pass."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reprise.argument_checks import file_path
from reprise.atomic_files import write_text, writing
from reprise.config import from_dict
from reprise.data.dataset import SequenceDataset, check_dataset
from reprise.errors import ConfigError, DataError
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.retraining.gate import Gate, GateResult, judge
from reprise.retraining.warm_start import WarmStart, check_continuable, write_warm_start
from reprise.training import train
from reprise.training.recipe import Recipe, RunOptions, TrainingConfig
from reprise.training.run_directory import RunDirectory, check_holds_only, load_run

RESULT = "retrain.json"
"""Name of the file with the result in the run directory."""
EPOCHS_SHARE = 3
"""The default number of epochs is that of the recipe divided by this (docs/experiments.md)."""
LEARNING_RATE_SHARE = 0.5
"""The default peak learning rate is that of the earlier run times this (docs/experiments.md)."""


@dataclass(frozen=True)
class Retrained:
    """Result of `retrain`."""

    model: NetworkScorer
    """The new network, on the CPU, in evaluation mode."""
    path: Path
    """Directory of the new run."""
    start: WarmStart | None
    """What was taken over from the earlier run; None: the run was trained from scratch."""
    gate: GateResult
    """Comparison with the earlier network on the new targets."""

    def __repr__(self) -> str:
        return f"Retrained({str(self.path)!r}, {self.gate})"


def retrain(
    earlier: str | Path,
    dataset: SequenceDataset,
    out: str | Path,
    *,
    gate: str | Gate = "ndcg@20",
    training: TrainingConfig | None = None,
    options: RunOptions | None = None,
    from_scratch: bool = False,
    progress: bool | None = None,
) -> Retrained:
    """Train the recipe of an earlier run on a later dataset, starting from its weights, and compare both.

    Items that both datasets have keep their vectors and their optimiser state. A new item begins from its content, if the
    network reads content, otherwise near its neighbours in the new training part. Counts, corrections and the repeat head are
    fitted on the new dataset. The same call with the same files gives the same result, and resumes after an interruption.

    Args:
        earlier: Directory of the finished earlier run. Its dataset must be where it was.
        dataset: The later dataset, such as `prepare_as_before` makes. Its test part should begin after everything that the
            earlier network has learned.
        out: Directory of the new run.
        gate: Metric with its list length by which both networks are compared: the new one must not be shown to be worse. A
            `Gate` may accept a loss.
        training: Hyper-parameters instead of those of the earlier run. By default a third of its epochs and half of its
            learning rate.
        options: Seed, device, precision and threads. By default the seed of the earlier run.
        from_scratch: Do not take over weights; the default hyper-parameters are then those of the earlier run.
        progress: As in `train`.

    Raises:
        ConfigError: the earlier run is an ensemble or private, the metric is unknown, or `out` has another run.
        ArtefactError: the earlier run is unfinished or damaged.
        DataError: the dataset of the earlier run is missing, or the new one ends before it.
    """
    check_dataset(dataset)
    source, run = RunDirectory(file_path("earlier", earlier)), RunDirectory(file_path("out", out))
    if source.path.resolve() == run.path.resolve():
        raise ConfigError(
            f"out is the earlier run {earlier}, which would be overwritten; choose another directory"
        )
    manifest = source.read()
    before_recipe: Recipe = from_dict(manifest["recipe"], Recipe, trusted="imported", stored=True)
    check_continuable(before_recipe, source.path)
    gate = gate if isinstance(gate, Gate) else Gate(gate)
    old, before = load_run(source.path)
    _check_later(before, dataset)
    options = RunOptions(seed=manifest["seed"]) if options is None else options
    recipe = Recipe(
        model=before_recipe.model, training=training or _shorter(before_recipe, source, from_scratch)
    )
    start = None if from_scratch else _start(recipe, dataset, run, source, before, options)
    model = train(recipe, dataset, run.path, options=options, progress=progress)
    result = judge(model, dataset, old, before, gate)
    facts = {
        "from": str(source.path), "start": None if start is None else asdict(start), "gate": result.to_dict(),
    }  # fmt: skip
    write_text(run.path / RESULT, json.dumps(facts, indent=2) + "\n")
    return Retrained(model, run.path, start, result)


def read_gate(path: Path) -> dict[str, Any] | None:
    """Return the result of the gate that a run directory holds; None if it has none."""
    try:
        found: dict[str, Any] = json.loads((path / RESULT).read_text(encoding="utf-8"))["gate"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def _shorter(recipe: Recipe, source: RunDirectory, from_scratch: bool) -> TrainingConfig:
    """Return the hyper-parameters of a run that starts from trained weights."""
    if from_scratch:
        return recipe.training
    rate = _used_learning_rate(source)
    epochs = max(1, -(-recipe.training.epochs // EPOCHS_SHARE))
    scaled = recipe.training.learning_rate if rate is None else rate * LEARNING_RATE_SHARE
    return replace(recipe.training, epochs=epochs, learning_rate=scaled)


def _used_learning_rate(source: RunDirectory) -> float | None:
    """Return the peak learning rate of a run, from the record of its last epoch."""
    try:
        lines = (source.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rates = [record["learning_rate"] for record in map(json.loads, lines) if "learning_rate" in record]
    except (OSError, ValueError):
        return None
    return float(rates[-1]) if rates else None


def _start(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    source: RunDirectory,
    before: SequenceDataset,
    options: RunOptions,
) -> WarmStart:
    """Write the initial weights of the run, if it has not begun yet; return what was taken over."""
    record = run.path / "warm_start.json"
    if run.manifest.exists():
        if not run.initial.exists():
            raise ConfigError(
                f"{run.path} holds a run that was trained from scratch; choose another directory"
            )
        return WarmStart(**json.loads(record.read_text(encoding="utf-8")))
    if run.path.exists():
        check_holds_only(
            run.path,
            {".lock", "recipe.toml", run.initial.name, run.content.name, record.name},
            "a run directory",
        )
    with writing(run.path):
        run.path.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        start = write_warm_start(recipe, dataset, run, source, before, options.seed)
    write_text(record, json.dumps(asdict(start)) + "\n")
    return start


def _check_later(before: SequenceDataset, now: SequenceDataset) -> None:
    """Check that the new targets come after the training part of the earlier dataset.

    Raises:
        DataError: the new dataset ends before the earlier training part.
    """
    if before.split.get("kind") != "time" or now.split.get("kind") != "time":
        return
    if now.split["valid_end_ms"] < before.split["train_end_ms"]:
        raise DataError(
            "the test part of the new dataset begins before the end of the training part of the earlier run, which has "
            "therefore learned the targets; use a later log"
        )
