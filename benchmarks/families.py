"""Every family on several logs under one protocol: trains what is not trained yet, compares all, writes the report of each log.

    python benchmarks/families.py LOGS --out families [--results docs/results.md]      # or: make benchmark LOGS=...

LOGS holds a folder for each log with interactions.parquet, and items.parquet where there is one. A network is trained once
for each seed, `--workers` of them at a time, on one thread each. Stopped at any moment, the same command goes on. `--results`
puts the tables between the marks of a page; nothing in them is typed by hand.
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
    # its item table counts clicks of the whole log; no model here reads the table
    "eshop-clothing": ["--split", "last:14d,14d", "--allow-leaks", "giveaway"],
}
"""How each is prepared."""
SHORT, LONG = 20, 50
"""Events that a transformer looks back at."""
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
"""What of a recipe makes each family; everything else is the same for all."""
MASKED = {"training.objective.class": "reprise.training:MaskedItem"}
BASELINES = (
    "popularity", "recent-popularity", "session-popularity", "markov", "cooccurrence", "item-knn", "session-knn",
)  # fmt: skip
METRICS = "ndcg@10", "recall@20", "mrr@20", "coverage@20"
MARK = "<!-- {} {} -->"


def settings(family: str, options: argparse.Namespace) -> dict[str, Any]:
    """The fields of a recipe. Counted transitions are left out: families are compared by themselves, and counts beside them."""
    fields = {"size": options.size, "transitions": 0}
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
    """Run a verb of the command on one thread; what it prints goes to a file where one is named."""
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
    """The dataset of a log, made where it is not there yet."""
    out: Path = options.out / "data" / log
    if not (out / "dataset.json").exists():
        folder = options.logs / log
        items = folder / "items.parquet"
        table = ["--items", items] if items.exists() else []
        reprise("prepare", folder / "interactions.parquet", *table, *LOGS[log], "--out", out)
    return out


def trained(log: str, dataset: Path, options: argparse.Namespace) -> list[Path]:
    """The runs of every family and seed. One that is finished is opened and left alone."""
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
        # the first seed of all comes first: a comparison stopped half way has every family
        waiting = [pool.submit(one, family, seed) for family, seed in sorted(runs, key=lambda run: run[1])]
        for done in waiting:
            done.result()
    return list(runs.values())


def compared(log: str, runs: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """The report of a log, as a page and as JSON."""
    page, facts = (options.out / f"{log}.{kind}" for kind in ("html", "json"))
    reprise(
        "evaluate", *runs, "--baselines", ",".join(BASELINES), "--at", "10,20", "--metric", METRICS[0],
        "--workers", options.workers, "--html", page, "--json", facts,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
    return found


def table(log: str, found: dict[str, Any]) -> Iterator[str]:
    """The lines of a log's table, the best first."""
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
        yield f"| {one['name']} | {' | '.join(cells)} | {less(found['verdicts'], one['name'], best)} |"


def less(verdicts: list[dict[str, Any]], name: str, best: str) -> str:
    """How much a model differs from the best one, with a star where that is shown."""
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
    """Replace what stands between two marks of a page."""
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
    parser.add_argument("logs", type=Path, help="the folder of the logs")
    parser.add_argument("--out", type=Path, default=Path("families"), help="datasets, runs and reports")
    parser.add_argument("--sets", nargs="+", default=list(LOGS), choices=list(LOGS))
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--results", type=Path, help="a page whose tables are to be replaced")
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
