"""How many fake users push an unpopular item into the ten best items of real users, and what the filters of inputs do to it.

    python benchmarks/poisoning.py data/shop --shares 0.001 0.003 0.01 0.03 --out poisoning.json
    python benchmarks/poisoning.py data/shop --shares 0.01 0.03 --network --set size=32 --epochs 2

Each fake user alternates popular items with the target, so that the target follows, and is followed by, what real users read.
The target is the most popular item of the rarest tenth. The filters are `prepare(max_events_per_day=...)`, which leaves out
users, and the rate of a user in a server (`--max-user-events-per-minute`), which rejects events. The attacker sends a burst,
one event a second, or knows the maximum per day and stays below it. Measured is the share of real users, after their last 20
events, who have the target among their ten best items. Prints and writes JSON.
Shape letters: E events, U users, B users of a batch, K best items.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import reprise as rp
from reprise.arrays import AnyArray
from reprise.models.batch import Event
from reprise.models.scorer import Scorer
from reprise.server.token_buckets import TokenBuckets
from reprise.training import RunOptions

DAY_S = 86_400
POPULAR = 50
"""Number of popular items that fake users interleave with the target."""
HISTORY = 20
"""Number of events of a real user before the answer."""
QUERIES = 2_000
"""Largest number of real users whose answers are computed."""
AT = 10
ALLOWED = ("duplicate", "giveaway")
"""Leaks of the fake users, who repeat each other."""


@dataclass(frozen=True)
class Attack:
    """What a fake user does."""

    events: int
    """Number of events."""
    per_day: int
    """Largest number of events on a day."""
    per_minute: int | None = None
    """Rate of a user that the server stores; None: all events are stored."""

    def times_s(self, last_day_s: int, generator: np.random.Generator) -> AnyArray:
        """Return the times of the stored events, one a second on each of the days before `last_day_s`."""
        days = -(-self.events // self.per_day)
        first_s = last_day_s - days * DAY_S + int(generator.integers(DAY_S // 2))
        number_E = np.arange(self.events)
        time_s_E = first_s + number_E // self.per_day * DAY_S + number_E % self.per_day
        if self.per_minute is None:
            return time_s_E
        now_s = [0.0]
        bucket: TokenBuckets[str] = TokenBuckets(clock=lambda: now_s[0])
        stored = []
        for time_s in time_s_E:
            now_s[0] = float(time_s)
            stored.append(not bucket.take("fake", self.per_minute))
        return time_s_E[np.array(stored)]


def poisoned_log(dataset: rp.SequenceDataset, target: int, fakes: int, attack: Attack, seed: int) -> pa.Table:
    """Return the events of a dataset and of fake users, with item indices as ids."""
    generator = np.random.default_rng(seed)
    user_E = np.repeat(np.arange(len(dataset)), np.diff(dataset.offset))
    parts = [(user_E, np.asarray(dataset.item), np.asarray(dataset.time_ms) // 1000)]
    last_day_s = int(dataset.time_ms.max()) // 1000 // DAY_S * DAY_S
    for fake in range(fakes):
        time_s_E = attack.times_s(last_day_s, generator)
        item_E = generator.integers(1, POPULAR + 1, len(time_s_E))
        item_E[1::2] = target
        parts.append((np.full(len(time_s_E), len(dataset) + fake), item_E, time_s_E))
    user, item, time_s = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pa.table({"user_id": user.astype(np.int64), "item_id": item.astype(np.int64), "timestamp": time_s})


def share_reached(scorer: Scorer, dataset: rp.SequenceDataset, target: int, real: int) -> float:
    """Return the share of real users with the target among their ten best items."""
    is_real_U = np.array([int(user) < real for user in dataset.users])
    rows = np.random.default_rng(0).permutation(np.flatnonzero(is_real_U))[:QUERIES]
    index = dataset.items.index(target)
    if not 0 < index <= dataset.items.warm:
        return 0.0
    found = 0
    with torch.no_grad():
        for row_B in np.array_split(rows, max(1, len(rows) // 500)):
            state = scorer.initial_state(len(row_B))
            for step in range(HISTORY, 0, -1):
                state = scorer.advance(state, _event(dataset, row_B, step))
            now_s_B = torch.tensor(dataset.time_ms[dataset.offset[row_B + 1] - 1] / 1000) + 60
            best_BK = scorer.scores(state, now_s_B).topk(AT).indices
            found += int((best_BK == index - 1).any(1).sum())
    return found / len(rows)


def _event(dataset: rp.SequenceDataset, row_B: AnyArray, step: int) -> Event:
    """Return the event that is `step` places before the end of each sequence; padding if there is none, or a cold item."""
    place_B = dataset.offset[row_B + 1] - step
    valid_B = place_B >= dataset.offset[row_B]
    place_B = np.maximum(place_B, dataset.offset[row_B])
    item_B = np.where(valid_B & (dataset.item[place_B] <= dataset.items.warm), dataset.item[place_B], 0)
    return Event(
        torch.tensor(item_B.astype(np.int64)),
        torch.tensor(dataset.time_ms[place_B] / 1000),
        torch.zeros(len(row_B), dtype=torch.int64),
        torch.full((len(row_B),), torch.nan),
    )


def scorers(dataset: rp.SequenceDataset, options: argparse.Namespace, work: Path) -> dict[str, Scorer]:
    """Return the models, fitted or trained on a dataset."""
    found: dict[str, Scorer] = {
        "popularity": rp.Popularity().fit(dataset),
        "item kNN": rp.ItemKNN().fit(dataset),
        "Markov": rp.Markov().fit(dataset),
    }
    if options.network:
        chosen = dict(entry.split("=", 1) for entry in options.set)
        fields = {name: json.loads(value) for name, value in chosen.items()}
        training = rp.TrainingConfig(epochs=options.epochs, refit=0)
        run = RunOptions(threads=1, accelerator="cpu")
        for name, changes in (("network", {}), ("network without counts", {"cooccurrence": 0})):
            spec = rp.Recurrent(**(fields | changes))
            model = rp.train(spec, dataset, work / name, training=training, options=run, progress=False)
            found[name] = model.eval()
    return found


def measured(
    dataset: rp.SequenceDataset,
    target: int,
    fakes: int,
    attack: Attack,
    options: argparse.Namespace,
    maximum: int | None,
) -> dict[str, Any]:
    """Return what an attack reaches, with the number of users that a maximum per day leaves out."""
    log = poisoned_log(dataset, target, fakes, attack, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        limits = {} if maximum is None else {"max_events_per_day": maximum}
        out = Path(folder) / "data"
        prepared = rp.prepare(log, out, split="leave-one-out", allow_leaks=ALLOWED, progress=False, **limits)
        dropped = prepared.facts.get("users_dropped", 0)
        found = scorers(prepared, options, Path(folder))
        real = len(dataset)
        reached = {
            name: round(share_reached(model, prepared, target, real), 4) for name, model in found.items()
        }
    return {
        "fake users": fakes,
        "fake events": len(log) - dataset.events,
        "users dropped": dropped,
        "reached": reached,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03])
    parser.add_argument("--events", type=int, default=100, help="events of a fake user")
    parser.add_argument("--max-events-per-day", type=int, default=50)
    parser.add_argument("--max-user-events-per-minute", type=int, default=10)
    parser.add_argument(
        "--network", action="store_true", help="also train the network, with and without counts"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="field of the network"
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[], help="attacks to measure, by name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = rp.SequenceDataset.open(options.dataset)
    target = int(dataset.items.warm * 0.9)
    burst, day = options.events, options.max_events_per_day
    attacks = {
        "burst": (Attack(burst, burst), None),
        "burst, maximum per day": (Attack(burst, burst), day),
        "burst, rate of a user": (Attack(burst, burst, options.max_user_events_per_minute), None),
        "slow, maximum per day": (Attack(burst, day), day),
    }
    result: dict[str, Any] = {
        "target": target,
        "events of the target": int((dataset.item == target).sum()),
        "users": len(dataset),
        "without fake users": measured(dataset, target, 0, attacks["burst"][0], options, None)["reached"],
        "attacks": {},
    }
    for name, (attack, maximum) in attacks.items():
        if not options.only or name in options.only:
            result["attacks"][name] = {
                share: measured(dataset, target, round(share * len(dataset)), attack, options, maximum)
                for share in options.shares
            }
            print(json.dumps({name: result["attacks"][name]}), flush=True)
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
