"""Shared parts of measurements of peers and of our networks: their options and their JSON lines."""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clock import Clock
from protocol import Sums

PACKAGES = ("reprise", "rectools", "pytorch-lightning", "torch", "numpy", "pandas")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for duration, measurement times and protocol."""
    parser.add_argument("dataset", type=Path, help="what `reprise prepare` wrote")
    parser.add_argument("--name", help="name of the curve (default: model and width)")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of processor time to train")
    parser.add_argument(
        "--times", type=float, nargs="*", default=[], help="processor seconds at which to evaluate"
    )
    parser.add_argument(
        "--warmup", type=float, default=5.0, help="warm-up seconds left out of events per second"
    )
    parser.add_argument(
        "--parts",
        nargs="*",
        choices=("valid", "test"),
        default=["test"],
        help="parts to evaluate (empty: measure speed only)",
    )
    parser.add_argument(
        "--early-parts",
        nargs="*",
        choices=("valid", "test"),
        help="parts to evaluate before the end (default: those of --parts)",
    )
    parser.add_argument(
        "--exclude-seen", action="store_true", help="exclude the items of the history from the candidates"
    )
    parser.add_argument("--min-history", type=int, default=1, help="minimum number of events before a target")
    parser.add_argument(
        "--sums", type=Path, help="folder for the metric sums of each sequence, see paired.py"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="option of the model's constructor"
    )


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that the figures depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Notes:
    """Writes a line about the run, and one for each measurement and part.

    Args:
        options: Those of `add_options`.
        name: Of the run, where the options have none.
        measured: The metrics of a part, as the model is now.
        finish: Makes the model ready for evaluation if it is not; its processor seconds are added to the time,
            since they are spent once, at the end of a training that ends there.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        name: str,
        measured: Callable[[str], Sums],
        finish: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.options, self.measured, self.finish = options, measured, finish
        self.name, self.dataset = options.name or name, options.dataset.name
        self.out = sys.stdout  # before the output of a peer is silenced

    @property
    def clock(self) -> Clock:
        """Return a clock that writes to this log."""
        return Clock(self.options.seconds, self.options.times, self.options.warmup, self._on_time)

    def begin(self, **facts: Any) -> None:
        """Write the line about the run."""
        protocol = {name: getattr(self.options, name) for name in ("exclude_seen", "min_history", "seed")}
        self._write(**protocol, **facts, versions=versions())

    def _on_time(self, clock: Clock) -> None:
        speed = clock.events_per_s
        spent = {
            "seconds": round(clock.seconds + self.finish(), 2),
            "events": clock.events,
            "events_per_s": None if speed is None else round(speed, 1),
        }
        early = self.options.early_parts if clock.running else None
        parts = self.options.parts if early is None else early
        if not parts:
            self._write(**spent)
        for part in parts:
            sums = self.measured(part)
            if self.options.sums:
                stem = f"{self.dataset}-{self.name}-{round(clock.time_s)}s-{part}".replace(" ", "-")
                sums.save(self.options.sums / f"{stem}.npz")
            self._write(**spent, part=part, targets=int(sums.targets_S.sum()), **sums.means())

    def _write(self, **facts: Any) -> None:
        line = {"name": self.name, "dataset": self.dataset, **facts}
        print(json.dumps(line), file=self.out, flush=True)
