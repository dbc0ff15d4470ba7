import math

import pytest
import torch

from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.baselines.popularity import Popularity
from reprise.models.networks.adversarial import (
    Adversarial,
    AdversarialEncoder,
    Discriminator,
    _GradientReversal,
)
from reprise.models.networks.cell_stack import Stack
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.recurrent import Recurrent
from reprise.nn.cells import GRU


def make_encoder() -> AdversarialEncoder:
    torch.manual_seed(0)
    return AdversarialEncoder(Stack([GRU(6)]), Discriminator(6), weight=0.5, temperature=0.1)


def predictable_rows(rows: int = 64, steps: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows in which each event is a fixed rotation of the one before it."""
    rotation_DD = torch.linalg.qr(torch.randn(6, 6)).Q
    x_BD, steps_BD = torch.randn(rows, 6), []
    for _ in range(steps):
        steps_BD.append(x_BD)
        x_BD = x_BD @ rotation_DD
    return torch.stack(steps_BD, dim=1), torch.ones(rows, steps, dtype=torch.bool)


def test_discriminator_learns_to_separate_real_from_proposed_items() -> None:
    network = make_encoder()
    x_BTD, valid_BT = predictable_rows()
    hidden_BTD = torch.randn_like(x_BTD)  # an untrained generator
    adam = torch.optim.Adam(network.discriminator.parameters(), lr=0.02)
    losses = []
    for _ in range(80):
        loss = network.adversarial_loss(x_BTD, hidden_BTD, valid_BT)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(2 * math.log(2), abs=0.3)
    assert losses[-1] < 0.7 * losses[0]


def test_generator_gets_the_reversed_gradient() -> None:
    """The generator maximises what the discriminator minimises."""
    network = make_encoder()
    x_BTD, valid_BT = predictable_rows()
    hidden_BTD = torch.randn_like(x_BTD).requires_grad_()
    (gradient,) = torch.autograd.grad(network.adversarial_loss(x_BTD, hidden_BTD, valid_BT), hidden_BTD)
    assert gradient.abs().sum() > 0
    proposed = torch.randn(8, 6, requires_grad=True)
    history = torch.randn(8, 6)
    plain = torch.autograd.grad(network.discriminator(history, proposed).sum(), proposed)[0]
    reversed_ = torch.autograd.grad(
        network.discriminator(history, _GradientReversal.apply(proposed)).sum(), proposed
    )[0]  # type: ignore[no-untyped-call]
    torch.testing.assert_close(reversed_, -plain)


def test_adversarial_loss_is_a_training_penalty_only() -> None:
    network = make_encoder()
    x_BTD, valid_BT = predictable_rows(4)
    assert float(network(x_BTD, network.initial_state(4), valid_BT).penalty.detach()) > 0
    assert float(network.eval()(x_BTD, network.initial_state(4), valid_BT).penalty) == 0


def test_rows_of_one_event_have_no_adversarial_loss() -> None:
    network = make_encoder()
    x_BTD, _ = predictable_rows(4, 1)
    penalty = network(x_BTD, network.initial_state(4), torch.ones(4, 1, dtype=torch.bool)).penalty
    assert float(penalty.detach()) == 0


@pytest.mark.parametrize("generator", [Popularity, 3, Adversarial()])
def test_generator_must_be_one_network(generator: object) -> None:
    with pytest.raises(ConfigError, match="generator must be the spec of one network, such as Recurrent"):
        Adversarial(generator).build(Sizes(5, 1))


def test_generator_must_not_be_an_ensemble() -> None:
    with pytest.raises(ConfigError, match="builds a EnsembleScorer"):
        Adversarial(Ensemble(Recurrent(size=4))).build(Sizes(5, 1))
