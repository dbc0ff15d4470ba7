"""Train a recipe of this library for some processor time, and evaluate it as `peers.py` evaluates a peer.

    python benchmarks/ours.py data/yoo --seconds 600 --times 60 120 240 --set model.size=64 > ours.jsonl

Time counts from the construction of the network, on one thread, and stops during evaluation. The evaluated weights
are those of the time of measurement, not of the best epoch, with or without the co-occurrence correction. The run
ends with the recipe's last epoch if that is earlier.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from clock import Clock
from measurement_log import Notes, add_options
from protocol import METRICS, Sums

from reprise.cli.commands.train import read_recipe
from reprise.config import to_dict
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.report import Report
from reprise.training import RunOptions
from reprise.training.run_directory import RunDirectory
from reprise.training.stages.fit_corrections import COOCCURRENCE, REPEATS, CorrectionFitting
from reprise.training.trainer import Trainer


def sums_of(report: Report) -> Sums:
    """Return the metric sums of a report with the metrics of the peers."""
    columns = [report.sums.metrics.index(metric) for metric in METRICS]
    return Sums(report.sums.row_S, report.sums.targets_S, METRICS, report.sums.sum_SM[:, columns])


def learn(trainer: Trainer, clock: Clock) -> None:
    """Run the trainer's epochs step by step, without validation and checkpoints."""
    for epoch in range(trainer.config.epochs):
        trainer.model.train()
        trainer.progress.epoch, trainer.train_step.state = epoch, None
        for chunk in trainer._plan(epoch):
            _, targets = trainer._step(chunk)
            trainer.progress.step += 1
            if clock.tick(targets):
                return
    clock.finish()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--recipe", type=Path, help="recipe file, as for `reprise train`")
    parser.add_argument("--precision", default="auto", choices=("auto", "32-true", "bf16-mixed"))
    parser.add_argument(
        "--counts",
        action="store_true",
        help="fit the corrections of the logits before each measurement; its seconds include the fit",
    )
    parser.add_argument(
        "--no-query-time", action="store_true", help="evaluate without the time of the question"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = SequenceDataset.open(options.dataset)
    recipe = read_recipe(options.recipe, options.set)
    run = RunOptions(seed=options.seed, accelerator="cpu", precision=options.precision, threads=1)
    query_time = not options.no_query_time

    fresh: dict[str, torch.Tensor] = {}

    def finish() -> float:
        if not options.counts:
            return 0.0
        begun, config, model = time.process_time(), recipe.training, trainer.model
        corrections = (f"{COOCCURRENCE}.", f"{REPEATS}.")
        if not fresh:
            weights = model.state_dict().items()
            fresh.update({name: tensor.clone() for name, tensor in weights if name.startswith(corrections)})
        # each measurement on its own, not from the fit of the previous one
        model.load_state_dict(fresh, strict=False)
        fitting = CorrectionFitting(
            model,
            dataset,
            trainer.fabric.autocast(),
            exclude_seen=config.exclude_seen,
            gce_q=config.gce_q,
        )
        fitting.fit(fitting.names)
        return time.process_time() - begun

    def measured(part: str) -> Sums:
        trainer.train_step.optimizer.settle()
        with trainer.fabric.autocast():
            protocol = EvaluationProtocol(
                part=part,
                exclude_seen=options.exclude_seen,
                min_history=options.min_history,
                query_time=query_time,
            )
            report = evaluate(trainer.model, dataset, protocol=protocol, options=QUICK)
        return sums_of(report)

    notes = Notes(options, f"reprise {recipe.model.size}", measured, finish)
    notes.begin(
        fingerprint=dataset.fingerprint,
        query_time=query_time,
        precision=options.precision,
        options=to_dict(recipe),
    )
    clock = notes.clock
    with tempfile.TemporaryDirectory() as folder:
        clock.start()
        trainer = Trainer(recipe, dataset, RunDirectory(Path(folder)), run)
        learn(trainer, clock)


if __name__ == "__main__":
    main()
