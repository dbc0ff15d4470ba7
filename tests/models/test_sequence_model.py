import pytest
import torch

from reprise.data.vocabulary import PAD
from reprise.models.batch import Batch, Event
from reprise.models.encoder import keep_state
from reprise.models.recurrent import Recurrent
from reprise.models.sequence_model import SequenceModel
from reprise.testing import worlds


@pytest.fixture
def model() -> SequenceModel:
    torch.manual_seed(0)
    return Recurrent(size=8, layers=2).build(worlds.cycle().sizes).eval()


def batch(items: list[list[int]], targets: list[list[int]], fresh: bool = True) -> Batch:
    item_BT, target_BT = torch.tensor(items), torch.tensor(targets)
    zeros_BT = torch.zeros(item_BT.shape)
    rows_B = torch.arange(len(items))
    return Batch(
        item_BT, target_BT, zeros_BT.double(), zeros_BT.long(), zeros_BT, zeros_BT,
        torch.full((len(items),), fresh), rows_B, rows_B,
    )  # fmt: skip


def test_an_unknown_item_in_the_middle_changes_nothing(model: SequenceModel) -> None:
    """Items without a vector are padding wherever they stand: 1 ? 2 is read as 1 2."""
    holes, _, after_holes = model.query_batch(batch([[1, PAD, 2], [PAD, PAD, 3]], [[0, 0, 5], [0, 0, 6]]))
    plain, _, after_plain = model.query_batch(batch([[1, 2], [3, PAD]], [[0, 5], [6, 0]]))
    torch.testing.assert_close(holes, plain)
    for name in after_plain:
        torch.testing.assert_close(after_holes[name], after_plain[name])


def test_a_target_after_an_unknown_item_sees_the_state_before_it(model: SequenceModel) -> None:
    """1 ? -> the answer after the unknown item is the answer after 1."""
    after_known, _, _ = model.query_batch(batch([[1]], [[5]]))
    after_unknown, _, _ = model.query_batch(batch([[1, PAD]], [[0, 5]]))
    torch.testing.assert_close(after_unknown, after_known)


def test_a_row_goes_on_only_when_it_is_not_fresh(model: SequenceModel) -> None:
    _, _, state = model.query_batch(batch([[1, 2]], [[0, 3]]))
    fresh, _, _ = model.query_batch(batch([[4]], [[5]]), state)
    alone, _, _ = model.query_batch(batch([[4]], [[5]]))
    carried, _, _ = model.query_batch(batch([[4]], [[5]], fresh=False), state)
    whole, _, _ = model.query_batch(batch([[1, 2, 4]], [[0, 0, 5]]))
    torch.testing.assert_close(fresh, alone)
    torch.testing.assert_close(carried, whole)
    assert not torch.allclose(carried, alone)


def test_advance_by_vector_is_advance_by_item(model: SequenceModel) -> None:
    event = Event(
        torch.tensor([3]), torch.zeros(1, dtype=torch.float64), torch.zeros(1).long(), torch.zeros(1)
    )
    by_item = model.advance(model.initial_state(1), event)
    by_vector = model.advance_vector(model.initial_state(1), model.input_vectors()[3 - 1 : 3], event)
    for name in by_item:
        torch.testing.assert_close(by_item[name], by_vector[name])


def test_scores_are_inner_products_of_query_and_vectors(model: SequenceModel) -> None:
    _, _, state = model.query_batch(batch([[1, 2]], [[0, 3]]))
    torch.testing.assert_close(model.scores(state), model.query(state) @ model.item_vectors().t())
    assert model.scores(state).shape == (1, 12)


def test_padding_never_learns(model: SequenceModel) -> None:
    query, _, _ = model.query_batch(batch([[1, PAD]], [[5, 0]]))
    query.sum().backward()
    assert model.items.weight.grad is not None
    assert torch.equal(model.items.weight.grad[PAD], torch.zeros(8))


def test_keep_state_chooses_row_by_row() -> None:
    old, new = {"h": torch.zeros(2, 3)}, {"h": torch.ones(2, 3)}
    kept = keep_state(old, new, torch.tensor([True, False]))
    assert kept["h"].tolist() == [[0, 0, 0], [1, 1, 1]]
