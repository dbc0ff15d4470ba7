"""What a model remembers of its users: the attacks of `reprise audit` on half of the users of a log, by recipe.

    python benchmarks/privacy_audit.py LOG --out audits [--users 3020] [--size 64] [--epochs 8] [--references 4]

LOG is a file of events. A random half of the users (or `--users` of them) is the training log, as many others are held out.
For each recipe the script trains a run, audits it, and prints one row for each attack. Reference models and canaries, which
cost a training each, are used for the recipes named by `--calibrate`. After an interruption, the same command continues.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import reprise
from reprise.privacy import AuditReport, AuditSettings, audit

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "dropout 0": {"model": {"dropout": 0.0, "item_dropout": 0.0}},
    "dropout 0.5": {"model": {"dropout": 0.5, "item_dropout": 0.5}},
    "a third of the epochs": {"epochs": 1 / 3},
    "without the repeat head": {"model": {"repeats": 0}},
    "without counts": {"model": {"cooccurrence": 0}},
}
"""Changes of the default recipe, by name."""


def main() -> None:
    """Train and audit a run for each recipe, and print a table."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    dataset, others = halves(options)
    print(
        f"{len(dataset)} members, {dataset.events} events; {options.epochs} epochs of width {options.size}, one seed\n"
    )
    print(
        "| recipe | valid | attack | AUC | TPR at 1 % FPR | TPR at 0.1 % FPR | CPU s |\n|---|---|---|---|---|---|---|"
    )
    for name in options.recipes.split(","):
        report, valid, spent_s = measure(name, dataset, others, options)
        for attack in report.attacks:
            rates = " | ".join(
                f"{point.tpr.value:.1%} ({point.tpr.low:.1%} to {point.tpr.high:.1%})"
                for point in attack.points
            )
            auc = attack.auc
            print(
                f"| {name} | {valid:.4f} | {attack.name} | {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}) | {rates} | "
                f"{spent_s:.0f} |",
                flush=True,
            )
        if report.canaries is not None:
            print(f"\n{report}\n", flush=True)


def measure(
    name: str, dataset: reprise.SequenceDataset, others: Path, options: argparse.Namespace
) -> tuple[AuditReport, float, float]:
    """Return the audit of a recipe, its best validation metric, and the processor time that this call took."""
    changes = RECIPES[name]
    epochs = max(1, round(options.epochs * changes.get("epochs", 1)))
    model = reprise.Recurrent(size=options.size, **changes.get("model", {}))
    training = reprise.TrainingConfig(epochs=epochs)
    run = options.out / name.replace(" ", "-")
    before = os.times()
    reprise.train(model, dataset, run, training=training, progress=False)
    calibrated = name in options.calibrate.split(",")
    settings = AuditSettings(
        training=reprise.RunOptions(workers=options.workers), comparisons=options.comparisons
    )
    report = audit(
        run,
        others,
        references=options.references if calibrated else 0,
        canaries=options.canaries if calibrated else 0,
        settings=settings,
        progress=False,
    )
    after = os.times()
    spent_s = sum(after[:4]) - sum(before[:4])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    valid = max(value for record in records for key, value in record.items() if key.endswith("ndcg@10"))
    return report, valid, spent_s


def halves(options: argparse.Namespace) -> tuple[reprise.SequenceDataset, Path]:
    """Return the prepared members, and the log of the others; both are kept from an earlier call."""
    table = pq.read_table(options.log)
    user_E = table.column(options.user_column).to_numpy()
    users = np.random.default_rng(options.seed).permutation(np.unique(user_E))
    most = min(options.users or len(users) // 2, len(users) // 2)
    parts = {"members": users[:most], "others": users[most : 2 * most]}
    files = {name: options.out / f"{name}.parquet" for name in parts}
    for name, ids in parts.items():
        if not files[name].exists():
            pq.write_table(table.filter(pa.array(np.isin(user_E, ids))), files[name])
    events = reprise.read_events(files["members"])
    return reprise.prepare(events, options.out / "data", split=reprise.LeaveOneOut()), files["others"]


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--users", type=int, default=0, help="number of members and of others; 0: half of the log each"
    )
    parser.add_argument("--user-column", default="user_id")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--calibrate", default="default", help="recipes with reference models and canaries")
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--canaries", type=int, default=0)
    parser.add_argument("--comparisons", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
