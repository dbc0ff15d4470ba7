"""Times at which the host of a virtual machine does not run it: a lower bound of what a server can promise there.

    python benchmarks/host_stalls.py [--seconds 60]

A process of real-time priority on each core sleeps for two milliseconds and measures how late it wakes. Programs of normal
priority cannot delay it, but the host can. Linux lets root, or a process with CAP_SYS_NICE, set this priority. Prints JSON.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Self

import numpy as np

SLEEP_S = 0.002
LATE_S = 0.001
"""Lateness from which a wake is recorded as a stall."""


class HostStalls:
    """Stalls of the host while this context manager is open, measured by one process for each core."""

    def __enter__(self) -> Self:
        self._probes = [
            subprocess.Popen(
                [sys.executable, __file__, "--core", str(core)], stdout=subprocess.PIPE, text=True
            )
            for core in sorted(os.sched_getaffinity(0))
        ]
        for probe in self._probes:
            assert probe.stdout is not None
            probe.stdout.readline()  # it measures
        return self

    def __exit__(self, *_: object) -> None:
        rows: list[list[float]] = []
        for probe in self._probes:
            probe.terminate()
            rows += json.loads(probe.communicate()[0])
        stalls = np.asarray(rows, np.float64).reshape(-1, 2)
        self.end_s, self.late_ms = stalls[:, 0], stalls[:, 1]

    def by_second(self, start_s: float, seconds: int) -> list[float]:
        """Return the milliseconds of the longest stall that ends in each second.

        Args:
            start_s: Beginning of the first second, by `time.monotonic`.
            seconds: Number of seconds.
        """
        longest = np.zeros(seconds)
        second_N = np.floor(self.end_s - start_s).astype(int)
        inside = (second_N >= 0) & (second_N < seconds)
        np.maximum.at(longest, second_N[inside], self.late_ms[inside])
        return [round(float(late_ms), 1) for late_ms in longest]

    def summary(self) -> dict[str, Any]:
        """Return the number of stalls by their length."""
        return {f"of {limit} ms or more": int((self.late_ms >= limit).sum()) for limit in (1, 5, 20, 100)}


def allowed() -> bool:
    """Return whether this process can set a real-time priority."""
    try:
        policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, policy, priority)
    except (AttributeError, PermissionError):  # not Linux, or not permitted
        return False
    return True


def probe(core: int) -> None:
    """Measure the wakes on a core until SIGTERM.

    Prints a line at the start, and at the end the time (`time.monotonic`, s) and the lateness (ms) of each late wake.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_max(os.SCHED_FIFO)))
    print("started", flush=True)
    late: list[tuple[float, float]] = []
    try:
        while True:
            due_s = time.monotonic() + SLEEP_S
            time.sleep(SLEEP_S)
            late_s = time.monotonic() - due_s
            if late_s >= LATE_S:
                late.append((round(due_s + late_s, 4), round(late_s * 1000, 2)))
    finally:
        print(json.dumps(late))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="to measure (60)")
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.core is not None:
        probe(options.core)
    if not allowed():
        sys.exit("real-time priority is not permitted: run as root, or give Python CAP_SYS_NICE")
    with HostStalls() as stalls:
        time.sleep(options.seconds)
    print(json.dumps(stalls.summary()))


if __name__ == "__main__":
    main()
