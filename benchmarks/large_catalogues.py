"""Training with catalogues of 100 thousand to 10 million items: cost of a step, memory, checkpoints, validation.

    OMP_NUM_THREADS=1 python benchmarks/large_catalogues.py --size 64

The log is synthetic: sessions around a topic, with topics and other items by Zipf's law. Steps of all catalogues are
measured in one process, in turns, in processor seconds: compare their ratios. A whole `train` of each catalogue runs in a
process of its own for its peak memory. `--sizes 100000 1000000` leaves out the largest catalogue.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pyarrow as pa
import torch
from training import in_turns

import reprise.training.trainer as trainer_module
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import Vocabulary
from reprise.models.networks.recurrent import Recurrent
from reprise.training import Recipe, RunOptions, TrainingConfig, train
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import SampledSoftmax
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer

LENGTH = 8
"""Number of events of a session."""
NEAR = 0.7
"""Share of the events of a session whose item is near its topic."""
TRAINED = 0.9
"""Share of the sessions in the training part; the others are half validation part, half test part."""
OPTIONS = RunOptions(threads=1, checkpoint_s=30.0)


def sessions(items: int, events: int, seed: int = 0) -> SequenceDataset:
    """Return a log of sessions of `LENGTH` events.

    It is a small part of the log that such a catalogue would have: every item is warm, and most have no event in it.
    """
    generator = np.random.default_rng(seed)
    rows = events // LENGTH

    def by_zipf(count: tuple[int, ...]) -> Any:
        # the inverse of the distribution function of p(i) ~ 1 / i
        return np.exp(generator.random(count) * np.log(items)).astype(np.int64)

    near = by_zipf((rows, 1)) + generator.geometric(0.2, (rows, LENGTH))
    item = np.where(generator.random((rows, LENGTH)) < NEAR, near, by_zipf((rows, LENGTH)))
    item_E = np.clip(item, 1, items).astype(np.int32).ravel()
    offset = np.arange(rows + 1) * LENGTH
    row_U, last = np.arange(rows), int(TRAINED * rows)
    ids = np.arange(items)
    return SequenceDataset(
        items=Vocabulary(ids, warm=items),
        users=row_U,
        offset=offset,
        train_end=np.where(row_U < last, offset[1:], offset[:-1]),
        valid_end=np.where(row_U < (last + rows) // 2, offset[1:], offset[:-1]),
        item=item_E,
        # sessions begin a minute apart, and events are a second apart
        time_ms=(60_000 * row_U[:, None] + 1000 * np.arange(LENGTH) + 86_400_000).ravel(),
        kind=np.zeros(len(item_E), dtype=np.uint8),
        value=np.full(len(item_E), np.nan, dtype=np.float32),
        table=pa.table({"item_id": ids, "count": np.bincount(item_E, minlength=items + 1)[1:]}),
        split={"kind": "sessions"},
        facts={"leaks": {"allowed": ["counts"], "found": []}},
        fingerprint=f"sessions-{items}-{events}-{seed}",
    )


def recipe_of(size: int) -> Recipe:
    """Return the default network with one layer of this width, a sparse table and sampled negatives."""
    training = TrainingConfig(epochs=1, events_per_batch=4096, loss=SampledSoftmax(Negatives(count=2048)))
    return Recipe(model=Recurrent(size=size, layers=1, sparse=True), training=training)


def steps_of(items: int, size: int, folder: Path) -> tuple[Callable[[], None], dict[str, Any]]:
    """Return a function that makes the next training step, and the bytes of the table and of its optimiser state."""
    trainer = Trainer(recipe_of(size), sessions(items, 40_000), RunDirectory(folder / str(items)), OPTIONS)
    trainer.model.train()
    segments = list(trainer._plan(0))
    optimizer, weight = trainer.train_step.optimizer, trainer.model.items.weight

    def step() -> None:
        trainer._step(segments[trainer.progress.step % len(segments)])
        trainer.progress.step += 1

    step()
    begun = time.process_time()
    # it also writes all memory of the state once, which is allocated at the first write
    optimizer.settle()
    state = sum(slot.nbytes for slot in optimizer.slots(weight).values())
    facts = {
        "table_MB": weight.nbytes / 1e6,
        "state_MB": state / 1e6,
        "settle_s": time.process_time() - begun,
    }
    return step, {name: round(value, 2) for name, value in facts.items()}


def train_once(items: int, events: int, size: int) -> dict[str, Any]:
    """Train for an epoch with all that follows it, and return times and the peak memory of this process."""
    dataset = sessions(items, events)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writes: list[float] = []
    save = trainer_module.save_checkpoint

    def timed(*args: Any) -> None:
        begun = time.perf_counter()
        save(*args)
        writes.append(time.perf_counter() - begun)

    trainer_module.save_checkpoint = timed
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        records: list[dict[str, Any]] = []
        ends: list[float] = []

        def on_epoch(record: dict[str, Any]) -> None:
            records.append(record)
            ends.append(time.perf_counter() - begun)

        train(recipe_of(size), dataset, Path(folder) / "run", options=OPTIONS, on_epoch=on_epoch)
        total_s = time.perf_counter() - begun
        checkpoint = (Path(folder) / "run" / "checkpoint.safetensors").stat().st_size
    return {
        "events_per_s": records[0]["events_per_s"],
        "epoch_s": records[0]["seconds"],
        "until_the_epoch_is_validated_s": round(ends[0], 1),
        "validation": records[0].get("sample", "whole"),
        "checkpoints": len(writes),
        "checkpoint_s": round(max(writes), 2),
        "checkpoint_MB": round(checkpoint / 1e6, 1),
        "total_s": round(total_s, 1),
        "processor_s": round(time.process_time(), 1),
        "log_MB": round(before / 1024, 1),
        "peak_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--size", type=int, default=64, help="width of the network")
    parser.add_argument("--events", type=int, default=200_000, help="events of the log of a whole training")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--job", choices=["steps", "train"], help="only this part; train: of the first size")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"torch": torch.__version__, "width": options.size}
    if options.job == "train":
        found = train_once(options.sizes[0], options.events, options.size)
    else:
        with tempfile.TemporaryDirectory() as folder:
            made = {items: steps_of(items, options.size, Path(folder)) for items in options.sizes}
            found["tables"] = {str(items): facts for items, (_, facts) in made.items()}
            works = {str(items): step for items, (step, _) in made.items()}
            found["a step, milliseconds by items"] = times = in_turns(works, options.rounds)
            first = times[str(options.sizes[0])]
            found["times the first"] = {items: round(value / first, 2) for items, value in times.items()}
            del made, works
    if options.job is None:
        for items in options.sizes:
            arguments = ["--size", str(options.size), "--events", str(options.events), "--sizes", str(items)]
            command = [sys.executable, __file__, "--job", "train", *arguments]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[f"training, {items} items"] = json.loads(done.stdout)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
