"""Training events per second of processor time: ours, RecTools' SASRec and the official GRU4Rec, and their ratios.

    python benchmarks/training_peers.py data/ml-1m --peers peers/bin/python --gru4rec GRU4Rec_PyTorch_Official

Each is a separate process on one thread; they alternate for some rounds, so that other load affects them alike. Nothing is
evaluated. Prints JSON; read the ratios.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
OURS = ("ours", "ours sampled")


def commands(options: argparse.Namespace, width: int) -> dict[str, list[str]]:
    """Return the commands for one width, by name."""
    ours = [sys.executable, str(HERE / "ours.py"), *_time(options), *_sets(options.set)]
    ours += _sets([f"model.size={width}", "training.epochs=1000"])
    peers = [options.peers, str(HERE / "peers.py")]
    width_too = [*_time(options), "--width", str(width)]
    return {
        "ours": ours,
        **({"ours sampled": [*ours, *_sets(options.sampled)]} if options.sampled else {}),
        "sasrec": [*peers, *width_too, "sasrec", *_sets([f"session_max_len={options.window}"])],
        "gru4rec": [
            *peers,
            *width_too,
            "gru4rec",
            *("--gru4rec", str(options.gru4rec)),
            *_sets([f"n_sample={options.negatives}", f"batch_size={options.batch}"]),
        ],
    }


def _time(options: argparse.Namespace) -> list[str]:
    seconds = options.warmup + options.seconds
    return [str(options.dataset), "--seconds", str(seconds), "--warmup", str(options.warmup), "--parts"]


def _sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def events_per_s(command: list[str]) -> float:
    """Return the events per second from the last line."""
    done = subprocess.run(command, env={**os.environ, **THREADS}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    speed: float | None = json.loads(done.stdout.splitlines()[-1])["events_per_s"]
    if speed is None:
        sys.exit(f"{' '.join(command)} learned nothing after its warm-up; give it more --seconds")
    return speed


def measure(options: argparse.Namespace, width: int) -> dict[str, Any]:
    """Return the mean of the rounds of each, and the ratios to ours."""
    runs = commands(options, width)
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, command in runs.items():
            speeds[name].append(events_per_s(command))
            print(f"width {width} {name}: {speeds[name][-1]:,.0f} events/s", file=sys.stderr, flush=True)
    means = {name: sum(found) / len(found) for name, found in speeds.items()}
    ratios = {
        f"{mine} to {theirs}": round(means[mine] / means[theirs], 2)
        for mine in OURS
        if mine in means
        for theirs in ("sasrec", "gru4rec")
    }
    return {"width": width, "events/s": speeds, "ratios of means": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--peers", required=True, help="Python of the peers' environment")
    parser.add_argument("--gru4rec", type=Path, required=True, help="folder of the official repository")
    parser.add_argument("--width", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--seconds", type=float, default=50.0, help="seconds measured after the warm-up")
    parser.add_argument("--warmup", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--window", type=int, default=200, help="maximum history length of SASRec")
    parser.add_argument("--negatives", type=int, default=512, help="negatives of GRU4Rec, shared by a batch")
    parser.add_argument("--batch", type=int, default=64, help="parallel sequences of GRU4Rec")
    parser.add_argument(
        "--set",
        nargs="*",
        default=["model.cell=rglru", "model.layers=2"],
        metavar="KEY=VALUE",
        help="recipe fields of our network",
    )
    parser.add_argument(
        "--sampled",
        nargs="*",
        metavar="KEY=VALUE",
        help="also run with these recipe fields, for sampled negatives",
    )
    options = parser.parse_args()
    widths = [measure(options, width) for width in options.width]
    settings = {
        name: getattr(options, name) for name in ("seconds", "warmup", "window", "negatives", "batch")
    }
    print(json.dumps({"dataset": options.dataset.name, **settings, "widths": widths}, indent=2))


if __name__ == "__main__":
    main()
