"""What a network says of itself: what it reads, and where it looks."""

import pytest
import torch

from reprise.data.vocabulary import PAD
from reprise.models.attentive import Alignment
from reprise.models.batch import Event
from reprise.models.recurrent import Recurrent
from reprise.models.sequence_model import SequenceModel
from reprise.nn.cells import State
from reprise.testing import worlds


def model(**fields: object) -> SequenceModel:
    torch.manual_seed(0)
    return Recurrent(size=8, layers=1, **fields).build(worlds.cycle().sizes).eval()  # type: ignore[arg-type]


def after(network: SequenceModel, rows: list[list[int]]) -> State:
    state = network.initial_state(len(rows))
    for items in torch.tensor(rows).t():
        unknown_B = torch.full(items.shape, torch.nan)
        state = network.advance(state, Event(items, unknown_B.double(), torch.zeros_like(items), unknown_B))
    return state


@pytest.mark.parametrize(
    ("fields", "reads"),
    [
        ({}, ()),
        ({"attention": 3}, ()),
        ({"transitions": 2}, ("item",)),
        ({"gaps": True}, ("time_s",)),
        ({"query_time": True}, ("time_s", "now_s")),
        ({"kinds": True, "values": True}, ("kind", "value")),
    ],
)
def test_a_network_says_what_it_reads(fields: dict[str, object], reads: tuple[str, ...]) -> None:
    assert model(**fields).reads == reads


@pytest.mark.parametrize("alignment", ["additive", "dot"])
def test_attention_says_how_much_each_of_the_last_events_is_looked_at(alignment: Alignment) -> None:
    network = model(attention=3, alignment=alignment)
    weight_BW = network.attention(after(network, [[1, 2, 3, 4], [5, 6, PAD, PAD], [PAD] * 4]))
    assert weight_BW is not None and weight_BW.shape == (3, 3)
    assert weight_BW.sum(1).tolist() == pytest.approx([1, 1, 0])
    assert (weight_BW > 0).tolist() == [[True] * 3, [False, True, True], [False] * 3]


def test_what_is_looked_at_is_what_is_added_to_the_hidden_state() -> None:
    """With only the second of three events in sight, the context is the vector of that event."""
    network = model(attention=3)
    with torch.no_grad():
        network.encoder.distance.copy_(torch.tensor([-99.0, 99.0, -99.0]))  # type: ignore[operator]
        state = after(network, [[1, 2, 3]])
        weight_BW = network.attention(state)
        context_BD = state["vectors"][:, 1]
        expected_BD = state["states"][:, -1] + network.encoder.output(context_BD)  # type: ignore[operator]
    assert weight_BW is not None
    assert weight_BW[0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    torch.testing.assert_close(state["hidden"], expected_BD)


def test_without_attention_there_is_nothing_to_say() -> None:
    assert model().attention(model().initial_state(2)) is None
