"""Fake users who interleave popular items with one item push it into the answers of real users, unless they are left out."""

from pathlib import Path

import pyarrow as pa
import torch

import reprise as rp
from reprise.models.batch import Event

START_S, DAY_S = 1_700_006_400, 86_400


def log(fakes: int) -> pa.Table:
    """Return the events of 20 people, one of six items a day, of a seventh that two of them read, and of fake users.

    A fake user reads every popular item before the target, all in one minute.
    """
    rows = [
        (f"u{user}", f"i{(user + day) % 6}", START_S + day * DAY_S + user)
        for user in range(20)
        for day in range(10)
    ]
    rows += [(f"u{user}", "target", START_S + 10 * DAY_S) for user in (0, 1)]
    for fake in range(fakes):
        for step in range(14):
            item = "target" if step % 2 else f"i{step // 2 % 6}"
            rows.append((f"fake{fake}", item, START_S + 9 * DAY_S + fake * 60 + step))
    return pa.table(dict(zip(("user_id", "item_id", "timestamp"), zip(*rows, strict=True), strict=True)))


def best_after(dataset: rp.SequenceDataset, item: str) -> str:
    """Return the item that transitions between neighbouring events put first after an item."""
    scorer = rp.Markov().fit(dataset)
    event = Event(
        torch.tensor([dataset.items.index(item)]),
        torch.zeros(1),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1),
    )
    scores_BI = scorer.scores(scorer.advance(scorer.initial_state(1), event))
    return str(dataset.items.item_ids([int(scores_BI.argmax()) + 1])[0])


def test_fake_users_push_an_item_and_the_maximum_per_day_leaves_them_out(tmp_path: Path) -> None:
    """After each item comes one real successor in about 30 places, against one from each of 50 fake users."""
    options = {"split": "leave-one-out", "allow_leaks": ["duplicate", "giveaway"]}
    real = rp.prepare(log(0), tmp_path / "real", **options)
    attacked = rp.prepare(log(50), tmp_path / "attacked", **options)
    filtered = rp.prepare(log(50), tmp_path / "filtered", max_events_per_day=3, **options)
    for item in range(6):
        assert best_after(real, f"i{item}") == f"i{(item + 1) % 6}"
        assert best_after(attacked, f"i{item}") == "target"
        assert best_after(filtered, f"i{item}") == f"i{(item + 1) % 6}"
    assert filtered.facts["users_dropped"] == 50
    assert (filtered.item == real.item).all()


def test_fakes_below_the_maximum_per_day_are_not_recognised(tmp_path: Path) -> None:
    """The limit that is documented: at fourteen events a day, no user is left out."""
    options = {"split": "leave-one-out", "allow_leaks": ["duplicate", "giveaway"], "max_events_per_day": 14}
    attacked = rp.prepare(log(50), tmp_path / "attacked", **options)
    assert attacked.facts["users_dropped"] == 0
    assert best_after(attacked, "i0") == "target"
