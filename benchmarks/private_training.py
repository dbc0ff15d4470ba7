"""Accuracy of training with user-level differential privacy, against epsilon and against the number of users.

    OMP_NUM_THREADS=1 python benchmarks/private_training.py data/ml-1m --picture curve.svg

Items that occurred earlier in the sequence are not candidates. Each point is the mean of several runs, which differ in their
noise; `low` and `high` are the smallest and the largest. With fewer users the network learns from a random subset, and is
evaluated on all users. Popularity has no noise. An epsilon of 100 shows what the network does almost without noise; `--run`
adds a run without privacy. The picture needs matplotlib: `pip install -e ".[bench]"`.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from drawing import Found, add_options, plotting, run, save

import reprise as rp
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.options import EvaluationOptions
from reprise.models.scorer import Scorer
from reprise.training import Privacy, RunOptions
from reprise.training.run_directory import RunDirectory, load_model

QUICK = EvaluationOptions(
    resamples=0, slices=False, leaks=False, lists=False, calibration=False, forecast=False, progress=False
)


def subset(dataset: SequenceDataset, rows: np.ndarray) -> SequenceDataset:
    """Return a dataset with some of the sequences, and the same vocabulary."""
    first, last = (np.asarray(dataset.offset)[rows + end] for end in (0, 1))
    offset = np.concatenate([[0], np.cumsum(last - first)]).astype(np.int64)
    position = np.repeat(first - offset[:-1], last - first) + np.arange(offset[-1])
    events = {
        name: np.asarray(getattr(dataset, name))[position] for name in ("item", "time_ms", "kind", "value")
    }
    ends = {
        name: offset[:-1] + np.asarray(getattr(dataset, name))[rows] - first
        for name in ("train_end", "valid_end")
    }
    return replace(
        dataset,
        users=np.asarray(dataset.users)[rows],
        offset=offset,
        user_table=None,
        # the vocabulary is that of all users
        facts={**dataset.facts, "leaks": {"allowed": ["counts"], "found": []}},
        fingerprint="",
        path=None,
        **events,
        **ends,
    )


def ndcg(model: Scorer, dataset: SequenceDataset, part: str) -> float:
    """Return NDCG@10 on a part, without items that occurred earlier."""
    report = rp.evaluate(model, dataset, part=part, at=[10], exclude_seen=True, options=QUICK)
    return report.metrics["ndcg@10"].value


def trained(dataset: SequenceDataset, log: SequenceDataset, privacy: Privacy, seed: int, part: str) -> float:
    """Train on a log, and return NDCG@10 on a dataset with the same vocabulary."""
    options = RunOptions(seed=seed, threads=1, accelerator="cpu")
    with tempfile.TemporaryDirectory() as folder:
        config = rp.TrainingConfig(privacy=privacy)
        rp.train(rp.Recurrent(), log, folder, training=config, options=options, progress=False)
        return ndcg(load_model(RunDirectory(Path(folder)), dataset), dataset, part)


def point(values: list[float]) -> dict[str, float]:
    """Return the mean and the range of some results."""
    return {"ndcg@10": sum(values) / len(values), "low": min(values), "high": max(values)}


def measure(options: argparse.Namespace) -> Found:
    """Measure all points."""
    dataset = SequenceDataset.open(options.dataset)
    seeds = range(1, options.runs + 1)
    found: Found = {"dataset": dataset.fingerprint, "part": options.part, "epsilon": {}, "users": {}}
    found["popularity"] = ndcg(rp.Popularity().fit(dataset), dataset, options.part)
    for path in options.run or []:
        found["without privacy"] = ndcg(
            load_model(RunDirectory(path), dataset, options.part), dataset, options.part
        )
    for epsilon in options.epsilons:
        privacy = Privacy(epsilon=epsilon, users=len(dataset), release=options.release)
        begun = time.process_time()
        found["epsilon"][epsilon] = point(
            [trained(dataset, dataset, privacy, seed, options.part) for seed in seeds]
        )
        found["epsilon"][epsilon]["seconds"] = (time.process_time() - begun) / options.runs
        print(epsilon, found["epsilon"][epsilon], flush=True)
    for share in options.shares:
        users = round(share * len(dataset))
        privacy = Privacy(epsilon=options.epsilon, users=users, release=options.release)
        logs = [
            subset(dataset, np.sort(np.random.default_rng(seed).permutation(len(dataset))[:users]))
            for seed in seeds
        ]
        found["users"][users] = point(
            [
                trained(dataset, log, privacy, seed, options.part)
                for seed, log in zip(seeds, logs, strict=True)
            ]
        )
        print(users, found["users"][users], flush=True)
    return found


def draw(found: Found, picture: Path) -> None:
    """Draw NDCG@10 against epsilon and against the number of users, with popularity as a line."""
    pyplot = plotting("private_training")
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for panel, axis in zip(panels, ("epsilon", "users"), strict=True):
        points = {float(place): values for place, values in found[axis].items()}
        places = sorted(points)
        rows = [points[place] for place in places]
        panel.plot(places, [row["ndcg@10"] for row in rows], "o-", label="private")
        panel.fill_between(places, [row["low"] for row in rows], [row["high"] for row in rows], alpha=0.2)
        panel.axhline(found["popularity"], color="grey", linestyle="--", label="popularity")
        if "without privacy" in found:
            panel.axhline(found["without privacy"], color="black", linestyle=":", label="without privacy")
        panel.set_xscale("log")
        panel.set_xlabel(axis)
    panels[0].set_ylabel("NDCG@10")
    panels[0].legend()
    figure.tight_layout()
    save(figure, picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, nargs="?", help="prepared dataset whose sequences are users")
    parser.add_argument("--epsilons", type=float, nargs="*", default=[1, 2, 4, 8, 100])
    parser.add_argument(
        "--shares", type=float, nargs="*", default=[0.125, 0.25, 0.5], help="shares of the users"
    )
    parser.add_argument("--epsilon", type=float, default=4.0, help="epsilon of the runs with fewer users")
    parser.add_argument("--release", type=float, default=1.0, help="training.privacy.release")
    parser.add_argument("--runs", type=int, default=3, help="runs per point")
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--run", type=Path, action="append", help="run without privacy, for comparison")
    add_options(parser, "private_training")
    options = parser.parse_args()
    run(options, lambda: measure(options), draw)


if __name__ == "__main__":
    main()
