"""Start-up time of `import reprise`, `Recommender` and `reprise --help`, in fresh processes.

    python benchmarks/startup.py [--rounds 10]

Prints the fastest and the median of some rounds in seconds, and those of an interpreter that does nothing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "nothing": ["-c", "pass"],
    "import reprise": ["-c", "import reprise"],
    "from reprise import Recommender": ["-c", "from reprise import Recommender"],
    "reprise --help": ["-m", "reprise", "--help"],
}


def seconds(arguments: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    found = {name: sorted(seconds(arguments) for _ in range(rounds)) for name, arguments in COMMANDS.items()}
    shown = {
        name: {"fastest": round(times[0], 3), "median": round(statistics.median(times), 3)}
        for name, times in found.items()
    }
    print(json.dumps(shown, indent=2))


if __name__ == "__main__":
    main()
