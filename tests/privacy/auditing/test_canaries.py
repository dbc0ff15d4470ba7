"""Canaries: how they are drawn and ranked, and that a copy which learns by heart remembers them."""

from pathlib import Path

import numpy as np
from audited_log import ITEMS, LENGTH, SMALL, Audited

from reprise.privacy.auditing.canaries import audit_canaries, exposures, measure_canaries, plan_canaries
from reprise.testing.worlds import world
from reprise.training.recipe import RunOptions


def test_canaries_have_uniform_items_and_the_length_of_a_member(audited: Audited) -> None:
    planned = plan_canaries(audited.members, 400, seed=1)
    assert planned.sequences.length_U.tolist() == [LENGTH - 2] * 400
    assert planned.sequences.train_U.tolist() == [LENGTH - 2] * 400
    count = np.bincount(planned.sequences.columns["item"], minlength=ITEMS + 1)
    assert count[0] == 0
    expected = 400 * (LENGTH - 2) / ITEMS
    assert np.abs(count[1:] - expected).max() < 5 * expected**0.5
    assert 160 < planned.inserted_N.sum() < 240


def test_the_copy_has_the_inserted_canaries_as_further_training_users(audited: Audited) -> None:
    planned = plan_canaries(audited.members, 10, seed=1)
    copy, inserted = planned.into(audited.members), int(planned.inserted_N.sum())
    before = len(audited.members)
    assert len(copy) == before + inserted
    assert copy.item[: audited.members.events].tolist() == audited.members.item.tolist()
    assert copy.part_events("valid") == audited.members.part_events("valid")
    assert copy.fingerprint != audited.members.fingerprint
    assert len(set(copy.users.tolist())) == len(copy)
    trained = copy.item[np.arange(copy.events) < np.repeat(copy.train_end, np.diff(copy.offset))]
    assert copy.table.column("count").to_pylist() == np.bincount(trained, minlength=ITEMS + 1)[1:].tolist()


def test_canaries_are_the_same_for_the_same_seed(audited: Audited) -> None:
    first, again, other = (plan_canaries(audited.members, 30, seed) for seed in (1, 1, 2))
    assert first.sequences.columns["item"].tolist() == again.sequences.columns["item"].tolist()
    assert first.sequences.columns["item"].tolist() != other.sequences.columns["item"].tolist()


def test_exposure_is_the_number_of_bits_of_the_rank() -> None:
    # of 7 random sequences none, one and all have a smaller or an equal loss: the ranks are 1, 2 and 8
    found = exposures(np.array([0.5, 1.0, 9.0]), np.arange(1.0, 8.0))
    assert found.tolist() == [3.0, 2.0, 0.0]


def test_a_model_that_has_not_seen_the_canaries_shows_chance(audited: Audited) -> None:
    planned = plan_canaries(audited.members, 200, seed=3)
    found = measure_canaries(audited.model, audited.members, planned, 3, comparisons=2000)
    for result in found.results.values():
        assert 0.6 < result.exposure[2] < 1.6  # the median of -log2 of a uniform number is 1
        assert 0.6 < result.control[2] < 1.6
        assert result.epsilon.epsilon < 0.2


def test_a_copy_that_learns_by_heart_remembers_canaries(audited: Audited, tmp_path: Path) -> None:
    found = audit_canaries(
        SMALL, audited.members, 40, tmp_path, RunOptions(seed=1), comparisons=4095, progress=False
    )
    shipped = found.results["counts"]
    assert shipped.exposure[2] >= 8  # bits of 12
    assert shipped.control[2] < 4
    assert 0.5 < shipped.epsilon.epsilon <= shipped.epsilon.largest
    again = audit_canaries(
        SMALL, audited.members, 40, tmp_path, RunOptions(seed=1), comparisons=4095, progress=False
    )
    assert again == found  # loaded, not trained again


def test_canaries_have_ids_that_no_user_has() -> None:
    planned = plan_canaries(world([["a", "b", "c", "d", "e"]] * 3), 5, seed=1)
    assert planned.sequences.users.tolist() == [3, 4, 5, 6, 7]
