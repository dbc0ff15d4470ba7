import pytest
import torch

from reprise.models.networks.cell_stack import Stack
from reprise.models.networks.state_attention import AttentiveEncoder
from reprise.nn.cells import GRU
from reprise.testing.contracts import check_encoder


def make_encoder(window: int, alignment: str) -> AttentiveEncoder:
    torch.manual_seed(0)
    encoder = Stack([GRU(6)], norm=False)
    result = AttentiveEncoder(encoder, 6, window, alignment)  # type: ignore[arg-type]
    torch.nn.init.normal_(result.distance)
    return result.eval()


@pytest.mark.parametrize("alignment", ["additive", "dot"])
@pytest.mark.parametrize("window", [2, 3, 20])
def test_attentive_encoder_satisfies_the_contract(alignment: str, window: int) -> None:
    check_encoder(make_encoder(window, alignment), 6)


@pytest.mark.parametrize("alignment", ["additive", "dot"])
def test_attention_matches_the_equations(alignment: str) -> None:
    """Compute e_ij over the last W events, the softmax and the context by loops."""
    encoder = make_encoder(3, alignment)
    x_BTD = torch.randn(2, 80, 6)
    with torch.no_grad():
        valid_BT = torch.ones(2, 80, dtype=torch.bool)
        found = encoder(x_BTD, encoder.initial_state(2), valid_BT).hidden_BTD
        h_BTD = encoder.encoder(x_BTD, encoder.encoder.initial_state(2), valid_BT).hidden_BTD
        for i in (0, 1, 2, 40, 63, 64, 79):
            first = max(0, i - 2)
            energies = []
            for j in range(first, i + 1):
                q_BD = encoder.query(h_BTD[:, i])
                if encoder.energy is not None:
                    e_B = torch.tanh(q_BD + encoder.key(h_BTD[:, j])) @ encoder.energy
                else:
                    e_B = (q_BD * h_BTD[:, j]).sum(1) / 6**0.5
                energies.append(e_B + encoder.distance[2 - (i - j)])
            weight_BW = torch.softmax(torch.stack(energies, 1), 1)
            context_BD = (weight_BW.unsqueeze(-1) * x_BTD[:, first : i + 1]).sum(1)
            torch.testing.assert_close(found[:, i], h_BTD[:, i] + encoder.output(context_BD))


def test_weights_cover_the_filled_window_only() -> None:
    encoder = make_encoder(4, "additive")
    state = encoder.initial_state(1)
    with torch.no_grad():
        for step in range(3):
            _, state = encoder.step(torch.randn(1, 6), state)
            hidden_BD = state["states"][:, -1]
            weight_BW = encoder.weights(hidden_BD, state)[0]
            assert (weight_BW[: 3 - step] == 0).all()
            assert (weight_BW[3 - step :] > 0).all()
            assert weight_BW.sum().item() == pytest.approx(1)
