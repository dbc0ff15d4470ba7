"""Training several seeds, or an ensemble, in parallel processes, compared with one after the other.

    python benchmarks/parallel_training.py data/ml-100k --set training.epochs=4
    python benchmarks/parallel_training.py data/ml-100k --ensemble --set training.epochs=4

Each round runs the command `reprise train` in turn: one run after the other with one thread, the same with a thread for each
core, and in parallel processes with one thread each. The times include the start of all processes. On a shared machine run it
with a high priority, for instance with `nice -n -10`.

Prints JSON: `wall_s` and `cpu_s` are those of the round with the median ratio, `cores` is their quotient. Each list of ratios
begins with the median and continues with those of the rounds. `available_cores` is what as many processes as there are workers,
which only count, received for a second before each round.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

SERIAL, THREADS = "one after the other, one thread", "one after the other, threads for all cores"
PARALLEL = "in parallel, one thread each"
COUNT = """
import time
end = time.monotonic() + 1
while time.monotonic() < end: pass
print(time.process_time())
"""
"""Script of a process that uses a core for a second, and prints the processor time that it received."""


def available_cores(processes: int) -> float:
    """Return the number of cores that some processes receive together."""
    started = [
        subprocess.Popen([sys.executable, "-c", COUNT], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in started)


def timed(command: Sequence[str]) -> dict[str, float]:
    """Run a command and return its wall-clock time and the processor time of it and of its children, in seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    wall_s, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "cores": round(cpu_s / wall_s, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--ensemble", action="store_true", help="an ensemble of as many members, instead of seeds"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-threads", action="store_true", help="leave out threads for all cores")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="recipe fields")
    options = parser.parse_args()
    sets = list(options.set)
    if options.ensemble:
        fields = [field.replace("model.", "model.member.") for field in sets]
        sets = ["model.class=reprise:Ensemble", f"model.members={options.workers}", *fields]
    seeds = [] if options.ensemble else ["--seeds", ",".join(map(str, range(1, options.workers + 1)))]
    modes = {SERIAL: ["--threads", "1"]}
    if not options.without_threads:
        modes[THREADS] = ["--threads", str(options.workers)]
    modes[PARALLEL] = ["--threads", "1", "--workers", str(options.workers)]
    rounds: list[dict[str, dict[str, float]]] = []
    available = []
    for _ in range(options.rounds):
        available.append(available_cores(options.workers))
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "reprise", "train", str(options.dataset), *seeds]
            command += [word for field in sets for word in ("--set", field)]
            rounds.append(
                {
                    name: timed([*command, "--out", f"{folder}/{number}", *mode])
                    for number, (name, mode) in enumerate(modes.items())
                }
            )
    middle = sorted(rounds, key=lambda one: one[SERIAL]["wall_s"] / one[PARALLEL]["wall_s"])[len(rounds) // 2]
    found: dict[str, object] = {"available_cores": round(mean(available), 2), **middle}
    for name in (name for name in modes if name != PARALLEL):
        for quantity in ("wall_s", "cpu_s"):
            ratios = [one[name][quantity] / one[PARALLEL][quantity] for one in rounds]
            found[f"{quantity}: {name} / {PARALLEL}"] = [
                round(ratio, 2) for ratio in (median(ratios), *ratios)
            ]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
