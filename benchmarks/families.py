"""Compare every family on several logs under one protocol: train missing runs, evaluate all, write a report for each log.

    python benchmarks/families.py LOGS --out families [--results docs/results.md]      # or: make benchmark LOGS=...

LOGS has a folder for each log with interactions.parquet and optionally items.parquet. Each network is trained once
per seed, `--workers` of them at a time, on one thread each. After an interruption, the same command continues.
`--results` writes the tables between the markers of a page.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

LOGS: dict[str, list[str]] = {
    "yoochoose-100k": ["--sequence-by", "session", "--split", "last:1d,1d"],
    "ml-100k": ["--split", "last:14d,14d"],
    # its item table counts clicks of the whole log, which is a leak; no model here reads the table
    "eshop-clothing": ["--split", "last:14d,14d", "--allow-leaks", "giveaway"],
}
"""Options of `reprise prepare` for each log."""
SHORT, LONG = 20, 50
"""Window of the transformer, in events."""
FAMILIES: dict[str, dict[str, Any]] = {
    "rglru": {"class": "Recurrent"},
    "gru": {"class": "Recurrent", "cell": "gru"},
    "gru-bare": {"class": "Recurrent", "cell": "gru", "residual": False, "layers": 1, "temperature": 0.07},
    "feed-forward-average": {"class": "FeedForward", "combine": "average"},
    "feed-forward-concatenation": {"class": "FeedForward"},
    "convolution": {"class": "Convolution"},
    "caser": {"class": "Caser"},
    "autoencoder-denoising": {"class": "Autoencoder", "variational": False},
    "autoencoder-variational": {"class": "Autoencoder"},
    "adversarial": {"class": "Adversarial"},
    "transformer": {"class": "Transformer", "window": LONG},
    "transformer-masked": {"class": "Transformer", "causal": False, "window": SHORT},
}
"""Recipe fields that define each family; all other fields are equal."""
MASKED = {"training.objective.class": "reprise.training:MaskedItem"}
BASELINES = (
    "popularity", "recent-popularity", "session-popularity", "markov", "cooccurrence", "item-knn", "session-knn",
)  # fmt: skip
METRICS = "ndcg@10", "recall@20", "mrr@20", "coverage@20"
MARK = "<!-- {} {} -->"


def settings(family: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a recipe. There is no co-occurrence correction, so that families are compared by themselves."""
    fields = {"size": options.size, "cooccurrence": 0, "repeats": 0}
    model = FAMILIES[family]
    where = "model.generator" if model["class"] == "Adversarial" else "model"
    return {
        **{
            f"model.{name}": f"reprise:{value}" if name == "class" else value for name, value in model.items()
        },
        **{f"{where}.{name}": value for name, value in fields.items()},
        **(MASKED if family == "transformer-masked" else {}),
        "training.epochs": options.epochs,
    }


def reprise(*words: object, log: Path | None = None) -> None:
    """Run a `reprise` command on one thread; its output goes to a file if one is given."""
    command = [sys.executable, "-m", "reprise", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    if log is None:
        subprocess.run(command, check=True, env=environment)
        return
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command[1:])}` failed; {log} says why")


def prepared(log: str, options: argparse.Namespace) -> Path:
    """Return the dataset of a log; prepare it if it is missing."""
    out: Path = options.out / "data" / log
    if not (out / "dataset.json").exists():
        folder = options.logs / log
        items = folder / "items.parquet"
        table = ["--items", items] if items.exists() else []
        reprise("prepare", folder / "interactions.parquet", *table, *LOGS[log], "--out", out)
    return out


def trained(log: str, dataset: Path, options: argparse.Namespace) -> list[Path]:
    """Train the runs of every family and seed. Finished runs are kept."""
    runs = {
        (family, seed): options.out / "runs" / log / f"{family}-{seed}"
        for family in options.families
        for seed in range(1, options.seeds + 1)
    }

    def one(family: str, seed: int) -> None:
        out = runs[family, seed]
        out.parent.mkdir(parents=True, exist_ok=True)
        sets = [
            word
            for name, value in settings(family, options).items()
            for word in ("--set", f"{name}={_toml(value)}")
        ]
        reprise(
            "train", dataset, "--out", out, "--seed", seed, "--threads", 1, *sets,
            log=out.with_name(f"{out.name}.log"),
        )  # fmt: skip
        print(f"{log}: {family}, seed {seed}", flush=True)

    with ThreadPoolExecutor(options.workers) as pool:
        # all families with the first seed come first, so that an interrupted run has every family
        waiting = [pool.submit(one, family, seed) for family, seed in sorted(runs, key=lambda run: run[1])]
        for done in waiting:
            done.result()
    return list(runs.values())


def compared(log: str, runs: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Write the report of a log, as a page and as JSON."""
    page, facts = (options.out / f"{log}.{kind}" for kind in ("html", "json"))
    reprise(
        "evaluate", *runs, "--baselines", ",".join(BASELINES), "--at", "10,20", "--metric", METRICS[0],
        "--workers", options.workers, "--html", page, "--json", facts,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
    return found


def table(log: str, found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a log's table, best model first."""
    first, *rest = METRICS
    entrants = sorted(found["entrants"], key=lambda one: -one["pooled"]["metrics"][first]["value"])
    best = entrants[0]["name"]
    yield f"### {log}\n"
    targets = entrants[0]["pooled"]["targets"]
    yield f"{targets:,} targets. The last column is the paired difference to the first row in {first}; a star marks"
    yield "a significant one, after Holm's correction over all pairs."
    yield ""
    yield f"| model | {first} | {' | '.join(rest)} | seeds | training, s | minus the first |"
    yield "|" + "---|" * (len(METRICS) + 4)
    for one in entrants:
        metrics = one["pooled"]["metrics"]
        cells = [_interval(metrics[first]), *(f"{metrics[name]['value']:.4f}" for name in rest)]
        seconds = one["training"]["seconds"]
        cells += [str(len(one["seeds"]) or ""), "" if seconds is None else f"{seconds:,.0f}"]
        yield f"| {one['name']} | {' | '.join(cells)} | {difference_from_best(found['verdicts'], one['name'], best)} |"


def difference_from_best(verdicts: list[dict[str, Any]], name: str, best: str) -> str:
    """Return the difference from the best model, with a star if it is significant."""
    for verdict in verdicts:
        if {verdict["first"], verdict["second"]} == {name, best}:
            assert verdict["metric"] == METRICS[0]
            gap, sign = verdict["difference"], 1 if verdict["first"] == name else -1
            low, high = sorted(sign * gap[end] for end in ("low", "high"))
            turned = {"value": sign * gap["value"], "low": low, "high": high}
            return _interval(turned, signed=True) + (" *" if verdict["better"] else "")
    return ""


def _interval(value: dict[str, float], *, signed: bool = False) -> str:
    form = "{:+.4f}" if signed else "{:.4f}"
    return f"{form} [{form}, {form}]".format(value["value"], value["low"], value["high"])


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def put_between(page: Path, name: str, lines: list[str]) -> None:
    """Replace the text between two markers of a page."""
    begin, end = MARK.format("begin", name), MARK.format("end", name)
    text = page.read_text(encoding="utf-8")
    if not (begin in text and end in text):
        raise SystemExit(f"{page} has no {begin} and {end} to put the tables between")
    block = "\n".join([begin, "", *lines, "", end])
    page.write_text(
        re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, text, flags=re.S), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("logs", type=Path, help="folder with a folder for each log")
    parser.add_argument(
        "--out", type=Path, default=Path("families"), help="folder for datasets, runs and reports"
    )
    parser.add_argument("--sets", nargs="+", default=list(LOGS), choices=list(LOGS))
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--results", type=Path, help="page whose tables are replaced")
    options = parser.parse_args()
    lines: list[str] = []
    for log in options.sets:
        dataset = prepared(log, options)
        found = compared(log, trained(log, dataset, options), options)
        lines += [*table(log, found), ""]
    print("\n".join(lines))
    if options.results:
        put_between(options.results, "families", lines[:-1])


if __name__ == "__main__":
    main()
