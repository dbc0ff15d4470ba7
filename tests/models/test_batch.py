import numpy as np
import pytest
import torch

from reprise.data.batching import BatchPlan, RowSegments
from reprise.models.batch import events_at_step, gather
from reprise.testing.worlds import world


@pytest.fixture
def dataset():
    """Rows a b a b | z a and a b | b a; the test part begins at the bar. z is cold and has index 3."""
    made = world([list("ababza"), list("abba")], valid=0, test=2)
    made.kind[:] = np.arange(10) % 2
    made.value[:] = np.arange(10)
    return made


def chunk(rows, first, steps, fresh=True) -> RowSegments:
    return RowSegments(np.array(rows), np.array(first), np.array(steps), max([1, *steps]), fresh)


def whole(dataset):
    return np.asarray(dataset.offset[:-1]), np.asarray(dataset.offset[1:])


def test_inputs_and_their_next_items(dataset):
    batch = gather(dataset, chunk([0, 1], [0, 6], [5, 3]), *whole(dataset))
    assert batch.item_BT.tolist() == [[1, 2, 1, 2, 0], [1, 2, 2, 0, 0]]
    assert batch.target_BT.tolist() == [[2, 1, 2, 3, 1], [2, 2, 1, 0, 0]]
    assert batch.targets == 8


def test_cold_item_is_a_target_but_not_an_input(dataset):
    """z is the target of step 3; at step 4 it is a padded input, and that step has a target too."""
    batch = gather(dataset, chunk([0], [0], [5]), *whole(dataset))
    assert batch.target_BT[0, 3] == 3
    assert batch.valid_BT.tolist() == [[True, True, True, True, False]]
    assert batch.target_BT[0, 4] == 1


def test_only_events_of_the_part_are_targets(dataset):
    first, last = dataset.part("test")
    batch = gather(dataset, chunk([0, 1], [0, 6], [5, 3]), first, last)
    assert batch.target_BT.tolist() == [[0, 0, 0, 3, 1], [0, 2, 1, 0, 0]]
    assert batch.item_BT.tolist() == [[1, 2, 1, 2, 0], [1, 2, 2, 0, 0]]


def test_times_kinds_and_values_belong_to_the_input(dataset):
    batch = gather(dataset, chunk([1], [7], [2]), *whole(dataset))
    assert batch.time_s_BT.dtype == torch.float64
    assert batch.time_s_BT.tolist() == [[86_400 + 60, 86_400 + 120]]
    assert batch.kind_BT.tolist() == [[1, 0]]
    assert batch.value_BT.tolist() == [[7, 8]]


def test_query_gap_is_from_the_input_to_the_target(dataset):
    dataset.time_ms[1] += 1_500
    batch = gather(dataset, chunk([0], [0], [2]), *whole(dataset))
    assert batch.query_gap_s_BT.tolist() == [[61.5, 58.5]]


def test_padded_steps_have_neutral_values(dataset):
    """The second row has one event and two padded steps."""
    batch = gather(dataset, chunk([0, 1], [0, 6], [3, 1]), *whole(dataset))
    assert batch.item_BT[1].tolist() == [1, 0, 0]
    assert batch.target_BT[1].tolist() == [2, 0, 0]
    assert batch.time_s_BT[1, 1:].tolist() == [0, 0]
    assert batch.query_gap_s_BT[1, 1:].tolist() == [0, 0]
    assert batch.value_BT[1, 1:].isnan().all()


def test_chunk_without_events_is_one_padded_step(dataset):
    batch = gather(dataset, chunk([0, 1], [5, 9], [0, 0], fresh=False), *whole(dataset))
    assert batch.item_BT.tolist() == [[0], [0]]
    assert batch.targets == 0


def test_rows_and_positions_are_kept(dataset):
    batch = gather(dataset, chunk([1, 0], [7, 2], [2, 2], fresh=False), *whole(dataset))
    assert batch.row_B.tolist() == [1, 0]
    assert batch.first_B.tolist() == [7, 2]
    assert batch.fresh_B.tolist() == [False, False]


def test_every_event_is_a_target_once(dataset):
    """One pass in chunks of two steps."""
    first, last = whole(dataset)
    targets = []
    for part in BatchPlan(first, last, events_per_batch=4, max_steps=2):
        batch = gather(dataset, part, first, last)
        row, step = (batch.target_BT != 0).nonzero().T
        targets += (batch.first_B[row] + step + 1).tolist()
    assert sorted(targets) == [1, 2, 3, 4, 5, 7, 8, 9]


def test_events_at_step_is_one_column(dataset):
    batch = gather(dataset, chunk([0, 1], [0, 6], [2, 2]), *whole(dataset))
    event = events_at_step(batch, 1)
    assert event.item_B.tolist() == [2, 2]
    assert event.time_s_B.tolist() == batch.time_s_BT[:, 1].tolist()
    assert event.kind_B.tolist() == batch.kind_BT[:, 1].tolist()
    assert event.value_B.tolist() == batch.value_BT[:, 1].tolist()


def test_to_moves_every_tensor(dataset):
    batch = gather(dataset, chunk([0], [0], [2]), *whole(dataset)).to(torch.device("meta"))
    assert {tensor.device.type for tensor in batch} == {"meta"}


def test_gather_copies_the_events(dataset):
    """Changing a batch does not change the dataset."""
    gather(dataset, chunk([0], [0], [5]), *whole(dataset)).item_BT.zero_()
    assert dataset.item.tolist() == [1, 2, 1, 2, 3, 1, 1, 2, 2, 1]
