import numpy as np
import pytest
import torch

from reprise.data.dataset import Sizes
from reprise.data.vocabulary import Vocabulary
from reprise.models.batch import Event
from reprise.models.items.released_embeddings import OUTPUT, SHARE, WEIGHT, ReleasedEmbeddings, align_rows
from reprise.models.networks.linear_fold import LinearFold
from reprise.models.networks.sequence_model import SequenceModel
from reprise.testing import worlds
from reprise.testing.contracts import check_encoder, check_scorer


def fold(layers: int, items: int = 5, size: int = 4) -> SequenceModel:
    """Return a network with random item vectors, and blocks that have an effect."""
    torch.manual_seed(0)
    model = LinearFold(size=size, decay=0.5, layers=layers).build(Sizes(items=items))
    assert isinstance(model.items, ReleasedEmbeddings)
    with torch.no_grad():
        for table in (model.items.weight, model.items.output, model.items.share):
            table[1:] = torch.rand_like(table[1:])
        for parameter in model.encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("layers", [1, 2])
def test_the_encoder_keeps_its_contract(layers: int) -> None:
    check_encoder(fold(layers).encoder, 4)


@pytest.mark.parametrize("layers", [0, 1])
def test_the_network_keeps_the_contract_of_a_scorer(layers: int) -> None:
    data = worlds.cycle(sequences=20, items=5)
    check_scorer(fold(layers, data.items.warm), data)


def test_the_state_is_the_decayed_sum_of_item_vectors() -> None:
    model = fold(0)
    vector_ID = model.items.weight
    state = model.initial_state(1)
    for item in (3, 1, 3):
        x_BD = vector_ID[item][None]
        state = model.advance_vector(state, x_BD, event_of(item))
    expected_D = 0.25 * vector_ID[3] + 0.5 * vector_ID[1] + vector_ID[3]
    torch.testing.assert_close(model.query(state)[0, :-1], expected_D)


def event_of(item: int) -> Event:
    one_B = torch.ones(1)
    return Event(torch.tensor([item]), one_B.double(), torch.zeros(1, dtype=torch.int64), one_B)


def test_an_item_without_a_vector_does_not_decay_the_sum() -> None:
    model = fold(0)
    with torch.no_grad():
        model.items.weight[2] = 0.0
    state = model.initial_state(1)
    for item in (3, 2, 2):
        state = model.advance_vector(state, model.items.weight[item][None], event_of(item))
    torch.testing.assert_close(model.query(state)[0, :-1], model.items.weight[3])


def test_blocks_have_no_effect_at_the_start() -> None:
    torch.manual_seed(0)
    model = LinearFold(size=4, layers=1).build(Sizes(items=5))
    x_BTD, valid_BT = torch.randn(2, 6, 4), torch.ones(2, 6, dtype=torch.bool)
    encoder = model.encoder
    with_blocks = encoder(x_BTD, encoder.initial_state(2), valid_BT).hidden_BTD
    encoder.blocks = None
    assert torch.equal(with_blocks, encoder(x_BTD, encoder.initial_state(2), valid_BT).hidden_BTD)


def test_the_bias_orders_items_for_a_user_without_events() -> None:
    model = fold(0)
    scores_I = model.scores(model.initial_state(1))[0]
    torch.testing.assert_close(scores_I, model.items.output[1:, -1])


def test_item_vectors_are_not_trained() -> None:
    model = fold(1)
    assert not any(parameter.requires_grad for parameter in model.items.parameters())
    assert all(parameter.requires_grad for parameter in model.encoder.parameters())


def test_rows_follow_the_items_of_another_vocabulary() -> None:
    catalogue = Vocabulary(np.array(["a", "b", "c"], dtype=object), warm=3)
    log = Vocabulary(np.array(["c", "x", "a", "cold"], dtype=object), warm=3)
    weights = {
        WEIGHT: torch.tensor([[0.0], [1.0], [2.0], [3.0]]),
        OUTPUT: torch.tensor([[0.0, 0.0], [1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]),
        SHARE: torch.tensor([0.0, 0.1, 0.2, 0.7]),
        "other": torch.ones(2),
    }
    aligned = align_rows(weights, catalogue, log)
    assert aligned[WEIGHT].flatten().tolist() == [0, 3, 0, 1]
    assert aligned[OUTPUT].tolist() == [[0, 0], [3, -3], [0, -4], [1, -1]]
    assert aligned[SHARE].tolist() == pytest.approx([0, 0.7, 0, 0.1])
    assert aligned["other"] is weights["other"]
