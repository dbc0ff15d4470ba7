import pytest
import torch
from rows import batch

from reprise.data.vocabulary import PAD
from reprise.models.batch import Event
from reprise.models.encoder import select_state
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.networks.state_attention import Alignment
from reprise.nn.cells import State
from reprise.testing import worlds


@pytest.fixture
def model() -> SequenceModel:
    torch.manual_seed(0)
    return Recurrent(size=8, layers=2).build(worlds.cycle().sizes).eval()


def test_cold_items_inside_a_row_are_skipped(model: SequenceModel) -> None:
    """A cold item is padding anywhere in a row: 1 ? 2 is read as 1 2."""
    holes, _, after_holes = model.query_batch(batch([[1, PAD, 2], [PAD, PAD, 3]], [[0, 0, 5], [0, 0, 6]]))
    plain, _, after_plain = model.query_batch(batch([[1, 2], [3, PAD]], [[0, 5], [6, 0]]))
    torch.testing.assert_close(holes, plain)
    for name in after_plain:
        torch.testing.assert_close(after_holes[name], after_plain[name])


def test_target_after_a_cold_item_uses_the_state_before_it(model: SequenceModel) -> None:
    """The query after 1 ? is that after 1."""
    after_known, _, _ = model.query_batch(batch([[1]], [[5]]))
    after_unknown, _, _ = model.query_batch(batch([[1, PAD]], [[0, 5]]))
    torch.testing.assert_close(after_unknown, after_known)


def test_only_rows_that_are_not_fresh_continue(model: SequenceModel) -> None:
    _, _, state = model.query_batch(batch([[1, 2]], [[0, 3]]))
    fresh, _, _ = model.query_batch(batch([[4]], [[5]]), state)
    alone, _, _ = model.query_batch(batch([[4]], [[5]]))
    carried, _, _ = model.query_batch(batch([[4]], [[5]], fresh=False), state)
    whole, _, _ = model.query_batch(batch([[1, 2, 4]], [[0, 0, 5]]))
    torch.testing.assert_close(fresh, alone)
    torch.testing.assert_close(carried, whole)
    assert not torch.allclose(carried, alone)


def test_advance_vector_equals_advance(model: SequenceModel) -> None:
    event = Event(
        torch.tensor([3]), torch.zeros(1, dtype=torch.float64), torch.zeros(1).long(), torch.zeros(1)
    )
    by_item = model.advance(model.initial_state(1), event)
    by_vector = model.advance_vector(model.initial_state(1), model.input_vectors()[3 - 1 : 3], event)
    for name in by_item:
        torch.testing.assert_close(by_item[name], by_vector[name])


def test_scores_are_inner_products(model: SequenceModel) -> None:
    _, _, state = model.query_batch(batch([[1, 2]], [[0, 3]]))
    torch.testing.assert_close(model.scores(state), model.query(state) @ model.item_vectors().t())
    assert model.scores(state).shape == (1, 12)


def test_padding_vector_has_no_gradient(model: SequenceModel) -> None:
    query, _, _ = model.query_batch(batch([[1, PAD]], [[5, 0]]))
    query.sum().backward()
    assert model.items.weight.grad is not None
    assert torch.equal(model.items.weight.grad[PAD], torch.zeros(8))


def test_select_state_selects_rows() -> None:
    old, new = {"h": torch.zeros(2, 3)}, {"h": torch.ones(2, 3)}
    selected = select_state(old, new, torch.tensor([True, False]))
    assert selected["h"].tolist() == [[0, 0, 0], [1, 1, 1]]


def make_network(**fields: object) -> SequenceModel:
    """Build a network in which the options that are on by default are off, except `fields`."""
    torch.manual_seed(0)
    off = {"temperature": 0.0, "attention": 0, "cooccurrence": 0, "repeats": 0}
    return Recurrent(size=8, layers=1, **{**off, **fields}).build(worlds.cycle().sizes).eval()  # type: ignore[arg-type]


def state_after(network: SequenceModel, rows: list[list[int]]) -> State:
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
        ({"cooccurrence": 2}, ("item",)),
        ({"repeats": 2}, ("item",)),
        ({"repeats": 2, "gaps": True}, ("item", "time_s")),
        ({"repeats": 2, "kinds": True}, ("item", "kind")),
        ({"gaps": True}, ("time_s",)),
        ({"decay": True}, ("time_s",)),
        ({"query_time": True}, ("time_s", "now_s")),
        ({"kinds": True, "values": True}, ("kind", "value")),
    ],
)
def test_reads_names_the_inputs_in_use(fields: dict[str, object], reads: tuple[str, ...]) -> None:
    assert make_network(**fields).reads == reads


@pytest.mark.parametrize("alignment", ["additive", "dot"])
def test_attention_weights_sum_to_one_over_the_window(alignment: Alignment) -> None:
    network = make_network(attention=3, alignment=alignment)
    weight_BW = network.attention(state_after(network, [[1, 2, 3, 4], [5, 6, PAD, PAD], [PAD] * 4]))
    assert weight_BW is not None and weight_BW.shape == (3, 3)
    assert weight_BW.sum(1).tolist() == pytest.approx([1, 1, 0])
    assert (weight_BW > 0).tolist() == [[True] * 3, [False, True, True], [False] * 3]


def test_attention_context_is_added_to_the_hidden_state() -> None:
    """With all weight on the second of three events, the context is the vector of that event."""
    network = make_network(attention=3)
    with torch.no_grad():
        network.encoder.distance.copy_(torch.tensor([-99.0, 99.0, -99.0]))  # type: ignore[operator]
        state = state_after(network, [[1, 2, 3]])
        weight_BW = network.attention(state)
        context_BD = state["vectors"][:, 1]
        expected_BD = state["states"][:, -1] + network.encoder.output(context_BD)  # type: ignore[operator]
    assert weight_BW is not None
    assert weight_BW[0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    torch.testing.assert_close(state["hidden"], expected_BD)


def test_attention_is_none_without_attention() -> None:
    assert make_network().attention(make_network().initial_state(2)) is None
