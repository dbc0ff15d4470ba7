"""Datasets made from other datasets: their arrays, their files and their fingerprints."""

from pathlib import Path

import numpy as np
from audited_log import LENGTH, Audited

from reprise.data.vocabulary import PAD
from reprise.models import Recurrent
from reprise.privacy.auditing.dataset_copy import (
    sequences_of,
    stored,
    take_sequences,
    with_sequences,
    with_warm_items,
)
from reprise.training import TrainingConfig, train


def test_taken_sequences_keep_their_events_and_parts(audited: Audited) -> None:
    taken = take_sequences(audited.members, np.array([5, 2]))
    for place, row in enumerate((5, 2)):
        begin = int(audited.members.offset[row])
        assert (
            taken.item[place * LENGTH :][:LENGTH].tolist() == audited.members.item[begin:][:LENGTH].tolist()
        )
    assert taken.users.tolist() == [5, 2]
    assert taken.train_end.tolist() == [LENGTH - 2, 2 * LENGTH - 2]
    assert taken.valid_end.tolist() == [LENGTH - 1, 2 * LENGTH - 1]


def test_a_stored_dataset_is_equal_when_it_is_opened(audited: Audited, tmp_path: Path) -> None:
    taken = take_sequences(audited.members, np.arange(7))
    opened = stored(taken, tmp_path / "data")
    assert opened.fingerprint == taken.fingerprint
    for name in ("offset", "train_end", "valid_end", "item", "time_ms", "kind"):
        assert getattr(opened, name).tolist() == getattr(taken, name).tolist()
    assert opened.users.tolist() == taken.users.tolist()
    assert opened.table.equals(taken.table)


def test_sequences_without_some_warm_items_can_be_trained_on(audited: Audited, tmp_path: Path) -> None:
    taken = stored(take_sequences(audited.members, np.arange(2)), tmp_path / "data")
    assert np.unique(taken.item).size < taken.items.warm
    model = Recurrent(size=4, layers=1, attention=0, repeats=0)
    assert train(model, taken, tmp_path / "run", training=TrainingConfig(epochs=1, refit=0))


def test_events_of_unknown_and_cold_items_are_left_out(audited: Audited) -> None:
    generator = np.random.default_rng(0)
    known = sequences_of(audited.members, np.arange(20))
    item_E = np.where(generator.random(known.length_U.sum()) < 0.3, PAD, known.columns["item"])
    holed = known._replace(columns=known.columns | {"item": item_E})
    warm = audited.members.items.warm - 5
    found = with_warm_items(holed, warm)
    before, after = with_sequences(audited.members, holed), with_sequences(audited.members, found)
    assert PAD not in after.item and after.item.max() <= warm < before.item.max()
    for part in ("train", "valid", "test"):
        for (first, last), (begin, end) in zip(
            zip(*before.part(part), strict=True), zip(*after.part(part), strict=True), strict=True
        ):
            expected = before.item[first:last]
            assert after.item[begin:end].tolist() == expected[(expected != PAD) & (expected <= warm)].tolist()


def test_other_sequences_have_another_fingerprint(audited: Audited) -> None:
    first, same, other = (
        take_sequences(audited.members, np.array(rows)) for rows in ([1, 2], [1, 2], [2, 1])
    )
    assert first.fingerprint == same.fingerprint != other.fingerprint
