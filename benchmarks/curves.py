"""Draw accuracy against processor time for each dataset, from the output of `ours.py` and `peers.py`.

    python benchmarks/curves.py runs/*.jsonl --metric ndcg@10 --out docs/pictures

A run with one measurement (session-kNN) is a horizontal line; the picture starts at the first measurement of the
others. Needs matplotlib, `reprise[bench]`.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Points = list[tuple[float, float]]
MARKS = "osD^vP*X"
OURS = "reprise"
TIMES = [15 * 2**doubling for doubling in range(12)]


def read(files: Iterable[Path], part: str, metric: str) -> dict[str, dict[str, Points]]:
    """Return dataset -> name of the run -> (seconds, value) in the order of time. Runs on other targets are an error."""
    found: dict[str, dict[str, Points]] = defaultdict(lambda: defaultdict(list))
    targets: dict[str, set[int]] = defaultdict(set)
    for file in files:
        for line in map(json.loads, file.read_text().splitlines()):
            if line.get("part") == part:
                found[line["dataset"]][line["name"]].append((line["seconds"], line[metric]))
                targets[line["dataset"]].add(line["targets"])
    for dataset, counts in targets.items():
        if len(counts) > 1:
            raise SystemExit(
                f"the runs on {dataset} have other targets: {sorted(counts)}; compare like with like"
            )
    return {
        dataset: {name: sorted(points) for name, points in runs.items()} for dataset, runs in found.items()
    }


def draw(runs: dict[str, Points], title: str, metric: str) -> Any:
    """Draw one picture."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    last = max(points[-1][0] for points in runs.values())
    begin = min((points[0][0] for points in runs.values() if len(points) > 1), default=1.0)
    # ours first and thick, the others by name
    for mark, name in zip(
        MARKS * 4, sorted(runs, key=lambda name: (not name.startswith(OURS), name)), strict=False
    ):
        seconds, values = zip(*runs[name], strict=True)
        width = 2.2 if name.startswith(OURS) else 1.2
        if len(values) == 1:
            axes.plot([max(begin, seconds[0]), last], values * 2, "--", linewidth=width, label=name)
        else:
            axes.plot(seconds, values, marker=mark, markersize=4, linewidth=width, label=name)
    axes.set(xscale="log", xlabel="processor time of training, seconds", ylabel=metric, title=title)
    axes.set_ylim(bottom=0)
    ticks = [time_s for time_s in TIMES if begin <= time_s <= 1.1 * last]
    axes.set_xticks(ticks, [f"{time_s:g}" for time_s in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--metric", default="ndcg@10")
    parser.add_argument("--part", default="test", choices=("valid", "test"))
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("svg")
    # no date in the file: equal runs give an equal file
    matplotlib.rcParams["svg.hashsalt"] = "reprise"
    options.out.mkdir(parents=True, exist_ok=True)
    for dataset, runs in read(options.files, options.part, options.metric).items():
        figure = draw(runs, f"{dataset}, one thread", options.metric)
        file = options.out / f"{dataset}-{options.metric.replace('@', '-')}.svg"
        figure.savefig(file, metadata={"Date": None})
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
