"""Reference models: who they learn from, which of them count for a user, and what calibration finds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audited_log import SMALL, Audited

from reprise.arrays import AnyArray
from reprise.errors import ConfigError, DataError
from reprise.privacy.auditing.dataset_copy import take_sequences
from reprise.privacy.auditing.reference_models import (
    ReferenceLosses,
    ReferenceModel,
    as_seen_by,
    calibrated_attacks,
    plan_halves,
    reference_losses,
    train_references,
)
from reprise.privacy.auditing.user_losses import UserLosses, in_vocabulary, user_losses
from reprise.testing.worlds import world
from reprise.training.recipe import RunOptions


def losses_of(loss_UK: AnyArray) -> UserLosses:
    rows = np.arange(len(loss_UK))
    return UserLosses(rows, rows, {"network": loss_UK})


def test_each_user_is_unseen_by_one_model_of_each_pair() -> None:
    learned = plan_halves(101, 4, seed=1)
    assert learned[:, 0].sum() == 50 and learned[:, 2].sum() == 50
    assert (learned[:, 0] ^ learned[:, 1]).all() and (learned[:, 2] ^ learned[:, 3]).all()
    assert (learned[:, 0] != learned[:, 2]).any()


def test_an_odd_number_of_models_is_refused() -> None:
    with pytest.raises(ConfigError, match="references must be an even number, got 3"):
        plan_halves(100, 3, seed=1)


def test_calibration_compares_a_loss_with_unseen_models_only() -> None:
    # the second model has learned from user 0, the first from user 1; their losses for them must not count
    own = losses_of(np.array([[1.0, 3.0], [2.0, 2.0]]).repeat(100, axis=0))
    reference = [losses_of(np.array([[4.0, 6.0], [0.0, 0.0]]).repeat(100, axis=0)),
                 losses_of(np.array([[0.0, 0.0], [2.0, 4.0]]).repeat(100, axis=0))]  # fmt: skip
    unseen = np.array([[True, False], [False, True]]).repeat(100, axis=0)
    group = own, ReferenceLosses(tuple(reference), unseen)
    (found,) = calibrated_attacks(group, group)
    assert found.name == "calibrated/network"
    # the scores are 5 - 2 = 3 and 3 - 2 = 1: half of the pairs are equal, a quarter is in order
    assert found.auc.value == 0.5
    low = (
        own.take(np.arange(100, 200)),
        ReferenceLosses(tuple(one.take(np.arange(100, 200)) for one in reference), unseen[100:]),
    )
    high = (
        own.take(np.arange(100)),
        ReferenceLosses(tuple(one.take(np.arange(100)) for one in reference), unseen[:100]),
    )
    assert calibrated_attacks(high, low)[0].auc.value == 1.0


def test_a_target_that_a_model_does_not_know_is_left_out_everywhere() -> None:
    # without the unknown target, whose own loss is 100, each score is 2 - 1
    own = losses_of(np.array([[100.0, 1.0]] * 100))
    reference = losses_of(np.array([[np.nan, 2.0]] * 100))
    other = (
        losses_of(np.array([[2.0, 1.5]] * 100)),
        ReferenceLosses((losses_of(np.array([[2.0, 2.0]] * 100)),), np.ones((100, 1), dtype=bool)),
    )
    member = own, ReferenceLosses((reference,), np.ones((100, 1), dtype=bool))
    assert calibrated_attacks(member, other)[0].auc.value == 1.0


def test_calibration_finds_members_that_a_plain_loss_does_not_find() -> None:
    """Users differ in how easy they are to predict by far more than a model lowers the loss of its members."""
    generator = np.random.default_rng(0)

    def group(memory: float) -> tuple[UserLosses, ReferenceLosses]:
        hard = generator.normal(5, 2, (400, 1))
        own = losses_of(hard + generator.normal(0, 0.2, (400, 1)) - memory)
        references = tuple(losses_of(hard + generator.normal(0, 0.2, (400, 1))) for _ in range(2))
        return own, ReferenceLosses(references, np.ones((400, 2), dtype=bool))

    assert calibrated_attacks(group(0.5), group(0.0))[0].auc.value > 0.9
    assert abs(calibrated_attacks(group(0.0), group(0.0))[0].auc.value - 0.5) < 0.06


def test_the_variance_of_the_models_helps_from_four_on() -> None:
    """For some users the models differ widely, and their large differences say little."""
    generator = np.random.default_rng(1)

    def group(memory: float) -> tuple[UserLosses, ReferenceLosses]:
        noise = np.where(generator.random((600, 1)) < 0.3, 2.0, 0.1)
        own = losses_of(5 + noise * generator.normal(size=(600, 1)) - memory)
        references = tuple(losses_of(5 + noise * generator.normal(size=(600, 1))) for _ in range(8))
        return own, ReferenceLosses(references, np.ones((600, 8), dtype=bool))

    found = {attack.name: attack for attack in calibrated_attacks(group(0.5), group(0.0))}
    assert list(found) == ["calibrated/network", "lira/network"]
    assert found["lira/network"].tpr_at(0.01).value > 2 * found["calibrated/network"].tpr_at(0.01).value


def test_items_without_a_training_event_are_unknown_to_a_model(audited: Audited) -> None:
    few = take_sequences(audited.others, np.arange(3))
    seen = as_seen_by(audited.members, in_vocabulary(few, audited.members))
    trained = {
        item
        for begin, end in zip(few.offset, few.train_end, strict=False)
        for item in few.items.item_ids(few.item[begin:end])
    }
    known = set(audited.members.items.item_ids(seen.item[seen.item > 0]))
    assert known == trained & set(audited.members.items.item_ids(audited.members.item))


def test_reference_models_learn_from_their_half_and_are_loaded_when_finished(
    audited: Audited, tmp_path: Path
) -> None:
    others = in_vocabulary(audited.others, audited.members)
    learned = plan_halves(len(others), 2, seed=1)
    recipe = replace(
        SMALL, model=replace(SMALL.model, cooccurrence=0), training=replace(SMALL.training, epochs=1)
    )
    models = train_references(recipe, others, learned, tmp_path, RunOptions(), progress=False)
    for number, reference in enumerate(models):
        assert reference.dataset.users.tolist() == others.users[learned[:, number]].tolist()
        assert reference.dataset.part_events("valid") > 0
    before = [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("best.safetensors"))]
    train_references(recipe, others, learned, tmp_path, RunOptions(), progress=False)
    assert [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("best.safetensors"))] == before
    assert len(before) == 2


def test_a_model_of_another_catalogue_is_refused(audited: Audited) -> None:
    foreign = world([[f"x{step}" for step in range(8)]] * 8)
    reference = ReferenceModel("runs/other", SMALL.model.build(foreign.sizes).eval(), foreign)
    own = user_losses(audited.model, audited.members)
    with pytest.raises(DataError, match=r"runs/other knows 0% of the items to predict.*another catalogue"):
        reference_losses([reference], audited.members, own, np.ones((len(own), 1), dtype=bool))
