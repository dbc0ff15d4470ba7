import pytest
import torch
from torch.distributions import Normal, kl_divergence

from reprise.models.networks.autoencoder import AutoencoderEncoder


def test_hidden_state_does_not_depend_on_the_order() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, 0.2, dropout=0.0).eval()
    x_BTD, valid_BT = torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    forward, backward = (encoder(x, encoder.initial_state(2), valid_BT) for x in (x_BTD, x_BTD.flip(1)))
    torch.testing.assert_close(forward.hidden_BTD[:, -1], backward.hidden_BTD[:, -1])
    torch.testing.assert_close(forward.state["bag"], backward.state["bag"])


def test_penalty_is_the_kl_divergence_from_the_standard_normal() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, 0.2, dropout=0.0)
    x_BTD, valid_BT = torch.randn(1, 4, 6), torch.tensor([[True, True, True, False]])
    penalty = encoder(x_BTD, encoder.initial_state(1), valid_BT).penalty
    divergences = []
    for events in (1, 2, 3):
        bag_BD = x_BTD[:, :events].sum(1) / events**0.5
        mean, log_scale = encoder.latent(torch.tanh(encoder.input(bag_BD))).chunk(2, dim=-1)
        divergences.append(kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, 1.0)).sum())
    assert penalty.item() == pytest.approx(0.2 * torch.stack(divergences).mean().item(), rel=1e-4)


def test_initial_latent_mean_is_the_input_and_the_noise_is_constant() -> None:
    x_ND = torch.randn(5, 8)
    mean_NZ, log_scale_NZ = AutoencoderEncoder(8, 3, 0.2, dropout=0.0).latent(x_ND).chunk(2, dim=-1)
    torch.testing.assert_close(mean_NZ, x_ND[:, :3])
    assert (log_scale_NZ == -1).all()


def test_latent_is_sampled_in_training_and_the_mean_in_evaluation() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, 0.2, dropout=0.0)
    x_BTD, valid_BT = torch.randn(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)

    def hidden() -> torch.Tensor:
        hidden_BTD: torch.Tensor = encoder(x_BTD, encoder.initial_state(1), valid_BT).hidden_BTD
        return hidden_BTD

    assert not torch.allclose(hidden(), hidden())
    encoder.eval()
    assert torch.equal(hidden(), hidden())


def test_denoising_autoencoder_has_no_penalty() -> None:
    torch.manual_seed(0)
    encoder = AutoencoderEncoder(6, 3, None, dropout=0.0)
    x_BTD, valid_BT = torch.randn(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)
    first = encoder(x_BTD, encoder.initial_state(1), valid_BT)
    assert float(first.penalty) == 0
    torch.testing.assert_close(
        encoder(x_BTD, encoder.initial_state(1), valid_BT).hidden_BTD, first.hidden_BTD
    )
