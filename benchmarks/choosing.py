"""Which network to choose: accuracy against training time and the size of a user's state, on prepared logs.

    OMP_NUM_THREADS=1 python benchmarks/choosing.py data/clicks data/ratings --out choosing.json --picture choosing.svg

Every network of a log gets the same events, epochs and settings, and the learning rate of its width; time is that of the
processor, on one thread. Accuracy is of the validation part, at the best epoch. The picture needs matplotlib:
`pip install -e ".[bench]"`. `--drawn-from` draws an earlier result without training.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from drawing import Found, add_options, plotting, run, save

import reprise as rp
from reprise.models.networks.recurrent import CELLS
from reprise.training import RunOptions

SIZES = 32, 128
NETWORKS = {
    **{cell: {"cell": cell, "attention": 0} for cell in CELLS},
    "rglru + attention": {"cell": "rglru", "attention": 20},
    "gru, bare": {"cell": "gru", "residual": False, "temperature": 0.07},
}
"""Networks to draw, without the co-occurrence correction, so that they are compared by themselves."""
OPTIONS = RunOptions(accelerator="cpu", threads=1)


def measure(name: str, size: int, dataset: rp.SequenceDataset, epochs: int) -> Found:
    """Measure one network: recall@20 on the validation part, processor seconds, events per second, size of a user's state."""
    spec = rp.Recurrent(size=size, layers=1, cooccurrence=0, repeats=0, **NETWORKS[name])
    training = rp.TrainingConfig(epochs=epochs, metric="recall@20", patience=0, refit=0)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        model = rp.train(spec, dataset, folder, training=training, options=OPTIONS, progress=False)
        seconds = time.process_time() - begun
        metrics = Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    state = sum(tensor.numel() for tensor in model.initial_state(1).values())
    found = {
        "network": name, "size": size, "recall@20": max(json.loads(line)["valid recall@20"] for line in metrics),
        "processor_s": round(seconds, 1), "state": state,
    }  # fmt: skip
    print(json.dumps(found), flush=True)
    return found


def measured(paths: list[Path], sizes: list[int], epochs: int) -> Found:
    """Measure every network on every log."""
    logs = {path.name: rp.SequenceDataset.open(path) for path in paths}
    return {
        "epochs": epochs,
        "logs": {
            log: [measure(name, size, dataset, epochs) for name in NETWORKS for size in sizes]
            for log, dataset in logs.items()
        },
    }


def draw(found: Found, picture: Path) -> None:
    """Draw a row for each log: accuracy against time on the left, against state size on the right."""
    pyplot = plotting("choosing")
    logs = found["logs"]
    shape = {"figsize": (9.5, 0.5 + 3.2 * len(logs)), "squeeze": False, "layout": "constrained"}
    figure, axes = pyplot.subplots(len(logs), 2, sharey="row", **shape)
    marks = dict(zip(NETWORKS, "os^Dv<>*X", strict=True))
    for pair, (log, rows) in zip(axes, logs.items(), strict=True):
        for axis, key in zip(pair, ("processor_s", "state"), strict=True):
            for name, mark in marks.items():
                line = [row for row in rows if row["network"] == name]
                across, up = [row[key] for row in line], [row["recall@20"] for row in line]
                axis.plot(across, up, mark + "-", label=name, linewidth=0.8, markersize=6)
            axis.set(xscale="log")
            ticks = sorted({round(row[key], -1 if row[key] > 50 else 0) for row in rows})
            axis.set_xticks(ticks[:: max(1, len(ticks) // 4)])
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.minorticks_off()
            axis.grid(alpha=0.2)
        pair[0].set(ylabel=f"{log}: recall@20")
    axes[-1, 0].set_xlabel("processor seconds of training")
    axes[-1, 1].set_xlabel("numbers in a user's state")
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=5, frameon=False)
    save(figure, picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", type=Path, nargs="*", help="what `reprise prepare` wrote")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    add_options(parser, "choosing")
    options = parser.parse_args()
    run(options, lambda: measured(options.datasets, options.sizes, options.epochs), draw)


if __name__ == "__main__":
    main()
