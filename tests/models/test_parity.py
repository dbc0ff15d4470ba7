"""Parity of a bare GRU network with torch layers and with the equations of GRU4Rec, given equal weights.

Shape letters: B rows, T steps, D width, I items, G = 3 D concatenated gates.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from rows import batch

from reprise.data.dataset import Sizes
from reprise.data.vocabulary import PAD
from reprise.models.batch import events_at_step
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel

ITEMS, WIDTH = 9, 6
ITEM_BT = [[3, 1, 4, 1, 5], [9, 2, 6, PAD, PAD], [5, PAD, PAD, PAD, PAD]]
NEXT_BT = [[1, 4, 1, 5, 9], [2, 6, 5, PAD, PAD], [8, PAD, PAD, PAD, PAD]]
TARGETS = [(row, step) for row in range(3) for step in range(5) if NEXT_BT[row][step] != PAD]


def bare_gru(layers: int) -> SequenceModel:
    torch.manual_seed(4)
    model = Recurrent(cell="gru", size=WIDTH, layers=layers, residual=False).build(Sizes(items=ITEMS))
    return model.double().eval()


def score_in_chunks(model: SequenceModel, *edges: int) -> torch.Tensor:
    """Return the scores at all targets, [B, T, I], zero elsewhere; chunks end at `edges`, with a carried state."""
    s_BTI, state = torch.zeros(3, 5, ITEMS, dtype=torch.float64), None
    for first, last in itertools.pairwise(edges):
        part = slice(first, last)
        chunk = batch([row[part] for row in ITEM_BT], [row[part] for row in NEXT_BT], fresh=first == 0)
        s_NI, state = model.score_batch(chunk, state)
        s_BTI[:, part][chunk.target_BT != PAD] = s_NI
    return s_BTI


def score_by_steps(model: SequenceModel) -> torch.Tensor:
    """Return the same scores, computed event by event."""
    s_BTI, state = torch.zeros(3, 5, ITEMS, dtype=torch.float64), model.initial_state(3)
    events = batch(ITEM_BT, NEXT_BT)
    for step in range(5):
        state = model.advance(state, events_at_step(events, step))
        wanted_B = events.target_BT[:, step] != PAD
        s_BTI[wanted_B, step] = model.scores(state)[wanted_B]
    return s_BTI


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_a_bare_gru_network_has_the_scores_of_torchs_gru(layers: int) -> None:
    """Item vectors are the inputs of `torch.nn.GRU`, and scores are inner products with the same vectors."""
    model = bare_gru(layers)
    reference = torch.nn.GRU(WIDTH, WIDTH, num_layers=layers, batch_first=True).double()
    for layer, cell in enumerate(model.encoder.cells):
        for name, weight in cell.layer.named_parameters():
            reference.get_parameter(name.replace("_l0", f"_l{layer}")).copy_(weight)
    vector_ID = model.items.weight[1:]
    expected_BTI = torch.zeros(3, 5, ITEMS, dtype=torch.float64)
    for row, items in enumerate(ITEM_BT):
        known = torch.tensor([item for item in items if item != PAD])
        hidden_TD, _ = reference(model.items.weight[known] * math.sqrt(WIDTH))
        expected_BTI[row, : len(known)] = hidden_TD @ vector_ID.t()
    for found_BTI in (score_in_chunks(model, 0, 5), score_in_chunks(model, 0, 2, 5), score_by_steps(model)):
        torch.testing.assert_close(found_BTI, expected_BTI)


@torch.no_grad()
def test_weights_of_gru4rec_give_its_scores() -> None:
    """GRU4Rec has the gates r, z, n in rows, one tied table read without a factor, and no item bias."""
    generator = np.random.default_rng(7)
    vector_ID = generator.normal(size=(ITEMS, WIDTH))
    w_x_GD, w_h_GD = generator.normal(size=(2, 3 * WIDTH, WIDTH))
    b_x_G, b_h_G = generator.normal(size=(2, 3 * WIDTH))
    model = bare_gru(1)
    model.items.weight[1:] = torch.from_numpy(vector_ID)
    layer = model.encoder.cells[0].layer
    # our network multiplies input vectors by sqrt(D)
    for name, weight in (
        ("weight_ih_l0", w_x_GD / math.sqrt(WIDTH)),
        ("weight_hh_l0", w_h_GD),
        ("bias_ih_l0", b_x_G),
        ("bias_hh_l0", b_h_G),
    ):
        layer.get_parameter(name).copy_(torch.from_numpy(weight))
    expected_BTI = np.zeros((3, 5, ITEMS))
    for row, step in TARGETS:
        h_D = np.zeros(WIDTH)
        for item in ITEM_BT[row][: step + 1]:
            (r_x, z_x, n_x), (r_h, z_h, n_h) = (
                np.split(w_x_GD @ vector_ID[item - 1] + b_x_G, 3),
                np.split(w_h_GD @ h_D + b_h_G, 3),
            )
            r_D, z_D = 1 / (1 + np.exp(-(r_x + r_h))), 1 / (1 + np.exp(-(z_x + z_h)))
            h_D = (1 - z_D) * np.tanh(n_x + r_D * n_h) + z_D * h_D
        expected_BTI[row, step] = vector_ID @ h_D
    for found_BTI in (score_in_chunks(model, 0, 1, 3, 5), score_by_steps(model)):
        np.testing.assert_allclose(found_BTI.numpy(), expected_BTI, rtol=1e-9)
