import pytest
import torch
from torch.distributions import Normal, kl_divergence

from reprise.models.networks.autoencoder import AutoencoderEncoder


def test_a_bag_knows_no_order() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, 0.2, dropout=0.0).eval()
    x_BTD, valid_BT = torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    forth, back = (encoder(x, encoder.initial_state(2), valid_BT) for x in (x_BTD, x_BTD.flip(1)))
    torch.testing.assert_close(forth.hidden_BTD[:, -1], back.hidden_BTD[:, -1])
    torch.testing.assert_close(forth.state["bag"], back.state["bag"])


def test_the_penalty_is_the_distance_to_the_standard_normal_distribution() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, 0.2, dropout=0.0)
    x_BTD, valid_BT = torch.randn(1, 4, 6), torch.tensor([[True, True, True, False]])
    penalty = encoder(x_BTD, encoder.initial_state(1), valid_BT).penalty
    apart = []
    for events in (1, 2, 3):
        bag_BD = x_BTD[:, :events].sum(1) / events**0.5
        mean, log_scale = encoder.latent(torch.tanh(encoder.input(bag_BD))).chunk(2, dim=-1)
        apart.append(kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, 1.0)).sum())
    assert penalty.item() == pytest.approx(0.2 * torch.stack(apart).mean().item(), rel=1e-4)


def test_it_begins_with_its_own_numbers_and_the_same_noise_for_all() -> None:
    x_ND = torch.randn(5, 8)
    mean_NZ, log_scale_NZ = AutoencoderEncoder(8, 3, 0.2, dropout=0.0).latent(x_ND).chunk(2, dim=-1)
    torch.testing.assert_close(mean_NZ, x_ND[:, :3])
    assert (log_scale_NZ == -1).all()


def test_it_is_drawn_while_training_and_the_mean_when_asked() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, 0.2, dropout=0.0)
    x_BTD, valid_BT = torch.randn(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)

    def hidden() -> torch.Tensor:
        found: torch.Tensor = encoder(x_BTD, encoder.initial_state(1), valid_BT).hidden_BTD
        return found

    assert not torch.allclose(hidden(), hidden())
    encoder.eval()
    assert torch.equal(hidden(), hidden())


def test_one_that_only_takes_noise_away_has_no_penalty() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, None, dropout=0.0)
    x_BTD, valid_BT = torch.randn(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)
    first = encoder(x_BTD, encoder.initial_state(1), valid_BT)
    assert float(first.penalty) == 0
    torch.testing.assert_close(
        encoder(x_BTD, encoder.initial_state(1), valid_BT).hidden_BTD, first.hidden_BTD
    )
