from typing import Any

import pytest
import torch

from reprise.config import apply_overrides, from_dict
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.batch import Event
from reprise.models.networks.autoencoder import Autoencoder
from reprise.models.networks.convolutional import Convolution
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.feed_forward import FeedForward
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.transformer import Transformer


@pytest.mark.parametrize(
    ("spec", "last"),
    [
        (Recurrent(size=64), 1),
        (Convolution(size=64), 1),
        (FeedForward(size=64), 2),
        (FeedForward(size=64, combine="average"), 2),
        (Transformer(size=64), 2),
        (Transformer(size=64, causal=False), 2),
        (Autoencoder(size=64), 2),
    ],
    ids=str,
)
def test_an_untrained_network_ranks_the_last_items_first(spec: Any, last: int) -> None:
    """Random item vectors are similar only to themselves, so the last items read are among the top 5 of 40.

    A random ranking would have one in eight of them there.
    """
    torch.manual_seed(0)
    model = spec.build(Sizes(40, 1)).eval()
    history_BT = torch.stack([torch.randperm(40)[:2] + 1 for _ in range(100)])
    state = model.initial_state(100)
    for item_B in history_BT.unbind(1):
        state = model.advance(state, Event(item_B, torch.zeros(100), torch.zeros(100), torch.zeros(100)))
    first_BK = model.scores(state).topk(5).indices + 1
    found_BT = (first_BK.unsqueeze(1) == history_BT[:, -last:].unsqueeze(-1)).any(-1)
    assert found_BT.float().mean() > 0.9


@pytest.mark.parametrize("name", ["cooccurrence", "transitions"])
def test_cooccurrence_is_read_under_its_current_and_its_former_name(name: str) -> None:
    data = {"class": "reprise:Recurrent", name: 3}
    assert from_dict(data).cooccurrence == 3
    assert from_dict(apply_overrides(data, ["transitions=0"])).cooccurrence == 0


def test_pair_users_reach_the_counts_of_a_network_and_of_an_ensemble() -> None:
    assert Recurrent(size=8, pair_users=3).build(Sizes(40, 1)).cooccurrence.pair_users == 3
    ensemble = Ensemble(member=Recurrent(size=8, pair_users=4), members=2)
    assert ensemble.build(Sizes(40, 1)).cooccurrence.pair_users == 4


def test_a_pair_needs_at_least_one_user() -> None:
    with pytest.raises(ConfigError, match="pair_users"):
        Recurrent(pair_users=0)
