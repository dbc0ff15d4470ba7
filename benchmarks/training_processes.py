r"""Training in several processes: events per second of one process and of all, and the share of the communication.

    OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 benchmarks/training_processes.py \
        --dataset data/ml-1m --recipe recipes/ml-1m.toml --events 1024 4096

Process 0 trains alone and together with the others, in turns in one run, in processor seconds of the process that needs
most. So this is the speed with a core for each process: time in which a process only waits does not count. Compare the
ratios, not the times.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from torch import Tensor

from reprise.cli.commands.train import read_recipe
from reprise.data.batching import RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.training import Recipe, RunOptions
from reprise.training.distributed.process_group import ALONE, ProcessGroup, process_group
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer


class TimedGroup(ProcessGroup):
    """The group of this process, which measures the sums over the processes."""

    def __init__(self, group: ProcessGroup) -> None:
        super().__init__(group.rank, group.world_size, group.local_rank)
        self.seconds, self.bytes = 0.0, 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes, and count its bytes and the processor time."""
        begun = time.process_time()
        found = super().sum(tensor)
        self.seconds += time.process_time() - begun
        self.bytes += tensor.numel() * tensor.element_size()
        return found


class Training:
    """A trainer that can train some steps at a time."""

    def __init__(self, recipe: Recipe, dataset: SequenceDataset, group: ProcessGroup, folder: str) -> None:
        options = RunOptions(accelerator="cpu", threads=1)
        self.trainer = Trainer(recipe, dataset, RunDirectory(Path(folder)), options, group=group)
        self.chunks = self._chunks()
        self.events, self.seconds = 0, 0.0

    def _chunks(self) -> Iterator[RowSegments]:
        for epoch in itertools.count():
            self.trainer.progress.epoch, self.trainer.train_step.state = epoch, None
            yield from self.trainer._plan(epoch)

    def train(self, steps: int, *, count: bool) -> None:
        """Train some steps, and add their events and their processor time if they count."""
        self.trainer.model.train()
        begun, events = time.process_time(), 0
        for chunk in itertools.islice(self.chunks, steps):
            events += self.trainer._step(chunk)[1]
            self.trainer.progress.step += 1
        if count:
            self.events += events
            self.seconds += time.process_time() - begun


def measure(recipe: Recipe, dataset: SequenceDataset, steps: int, rounds: int) -> dict[str, float]:
    """Return the events per second of one process and of all, and the cost of the communication, in process 0."""
    group = process_group()
    timed = TimedGroup(group)
    with tempfile.TemporaryDirectory() as folder:
        alone, together = Training(recipe, dataset, ALONE, folder), Training(recipe, dataset, timed, folder)
        for number in range(rounds + 1):  # the first round is the warm-up
            with group.together():
                if group.is_main:
                    alone.train(steps, count=number > 0)
            together.train(steps, count=number > 0)
            if not number:
                timed.seconds, timed.bytes = 0.0, 0
    slowest_s = max(group.gather_json(together.seconds))
    if not group.is_main:
        return {}
    one, all_ = alone.events / alone.seconds, together.events / slowest_s
    return {
        "events per step": round(together.events / (steps * rounds)),
        "events/s of 1 process": round(one),
        f"events/s of {group.world_size} processes": round(all_),
        "times as fast": round(all_ / one, 2),
        "share of communication": round(timed.seconds / together.seconds, 3),
        "MB sent per step": round(timed.bytes / (steps * rounds) / 1e6, 2),
    }


def main() -> None:
    """Print one line of JSON for each number of events per batch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="directory of a prepared dataset")
    parser.add_argument("--recipe", type=Path, help="recipe file")
    parser.add_argument("--set", action="append", default=[], help="field=value of the recipe")
    parser.add_argument("--events", type=int, nargs="+", default=[1024], help="events per batch")
    parser.add_argument("--steps", type=int, default=5, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    dataset, recipe = SequenceDataset.open(args.dataset), read_recipe(args.recipe, args.set)
    for events in args.events:
        sized = replace(recipe, training=replace(recipe.training, events_per_batch=events))
        found = measure(sized, dataset, args.steps, args.rounds)
        if found:
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
