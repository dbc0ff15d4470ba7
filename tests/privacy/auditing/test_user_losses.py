"""Losses of users: the stages of the scores, the last targets, and users of another vocabulary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from audited_log import LENGTH, Audited

from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.batch import Event
from reprise.models.networks.recurrent import Recurrent
from reprise.privacy.auditing.user_losses import in_vocabulary, mean_losses, user_losses
from reprise.testing.worlds import world


def event(item: int, time_s: float) -> Event:
    return Event(
        torch.tensor([item]), torch.tensor([time_s]).double(), torch.tensor([0]), torch.tensor([torch.nan])
    )


def test_the_loss_is_that_of_reading_event_by_event(audited: Audited) -> None:
    losses = user_losses(audited.model, audited.members, targets=3, row_U=np.array([7]))
    model, dataset = audited.model, audited.members
    first, end = int(dataset.offset[7]), int(dataset.train_end[7])
    state, expected = model.initial_state(1), []
    with torch.no_grad():
        for position in range(first, end):
            item = int(dataset.item[position])
            expected.append(-float(model.scores(state).log_softmax(1)[0, item - 1]))
            state = model.advance(state, event(item, dataset.time_ms[position] / 1000))
    assert losses.users.tolist() == [7]
    assert losses.losses["counts"][0] == pytest.approx(expected[-3:], abs=1e-4)


def test_counts_change_the_loss_of_the_network(audited: Audited) -> None:
    losses = user_losses(audited.model, audited.members, targets=5).losses
    assert list(losses) == ["network", "counts"]
    assert (losses["network"] != losses["counts"]).mean() > 0.5


def test_a_short_history_has_fewer_targets(audited: Audited) -> None:
    losses = user_losses(audited.model, audited.members, targets=20).losses["network"]
    trained = LENGTH - 2  # the last two events are the validation and the test part
    assert (~np.isnan(losses)).sum(1).tolist() == [trained - 1] * len(losses)
    assert np.isnan(losses[:, : 20 - trained + 1]).all()


def test_users_of_another_dataset_are_read_with_the_items_of_the_model(audited: Audited) -> None:
    again = world([["new", *(audited.members.items.item_ids(audited.members.item[:LENGTH]))]] * 2)
    mapped = in_vocabulary(again, audited.members)
    assert mapped.item[: LENGTH + 1].tolist() == [PAD, *audited.members.item[:LENGTH].tolist()]
    losses = user_losses(audited.model, mapped, targets=3).losses["counts"]
    expected = user_losses(audited.model, audited.members, targets=3, row_U=np.array([0])).losses["counts"]
    assert losses[0] == pytest.approx(expected[0], abs=1e-5)


def test_an_unknown_target_has_no_loss(audited: Audited) -> None:
    item = audited.members.item.copy()
    item[audited.members.train_end - 1] = PAD
    losses = user_losses(audited.model, replace(audited.members, item=item), targets=3).losses["network"]
    assert np.isnan(losses[:, -1]).all() and not np.isnan(losses[:, :-1]).any()


def test_a_user_with_unknown_targets_only_is_left_out(audited: Audited) -> None:
    item = audited.members.item.copy()
    item[:LENGTH] = PAD
    losses = user_losses(audited.model, replace(audited.members, item=item))
    assert losses.users.tolist() == audited.members.users[1:].tolist()


def test_a_mean_leaves_unknown_targets_out() -> None:
    means = mean_losses(np.array([[np.nan, 1.0, 2.0], [np.nan, np.nan, np.nan]]))
    assert means[0] == 1.5 and np.isnan(means[1])


def test_a_network_that_reads_attributes_of_users_is_refused(audited: Audited) -> None:
    other = Recurrent(size=8, users=("country",)).build(audited.members.sizes)
    with pytest.raises(ConfigError, match=r"reads attributes of users \(country\).*without `model.users`"):
        user_losses(other, audited.members)
