"""Forecasts of the next event: the heads of a network and counts of the past, on the same targets.

    python benchmarks/forecast.py --dataset data/trivago --run runs/trivago

Trains a small network if the run does not exist, fits the heads if it has none, and prints log loss, Brier score and
calibration of the next kind, and log-likelihood, CRPS and calibration of the time to the next event, with the paired
differences from each baseline (95 % intervals over sequences).
"""

import argparse
from pathlib import Path

import torch

from reprise.data import SequenceDataset
from reprise.evaluation import Bootstrap, score_forecasts
from reprise.models import Recurrent
from reprise.training import TrainingConfig, add_forecast, load_run, train


def main() -> None:
    """Train, fit and score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR", help="prepared dataset")
    parser.add_argument(
        "--run", type=Path, required=True, metavar="RUN", help="run directory, made if it is missing"
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1, help="seed of the fit of the heads")
    parser.add_argument("--refit", action="store_true", help="fit the heads again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = SequenceDataset.open(options.dataset)
    if not (options.run / "best.safetensors").exists():
        spec = Recurrent(
            size=options.size, layers=1, attention=0, repeats=0, cooccurrence=0, kinds=True, gaps=True
        )
        training = TrainingConfig(epochs=options.epochs, refit=0)
        train(spec, dataset, options.run, training=training, progress=True)
    model, _ = load_run(options.run, options.dataset)
    if model.forecast is None or options.refit:
        add_forecast(options.run, options.dataset, seed=options.seed)
        model, _ = load_run(options.run, options.dataset)
    assert model.forecast is not None
    for name, head in (("kind", model.forecast.kind), ("gap", model.forecast.gap)):
        if head is not None:
            reads = "state and last events" if head.reads_query else "last events"
            print(f"{name} head reads: {reads}")
    print(score_forecasts(model, dataset, Bootstrap()))


if __name__ == "__main__":
    main()
