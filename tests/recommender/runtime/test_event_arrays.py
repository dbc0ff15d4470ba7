import numpy as np

from reprise.recommender.runtime.event_arrays import EventArrays


def test_events_of_items_have_no_time_no_value_and_the_first_kind() -> None:
    events = EventArrays.of_items(np.array([3, 1], dtype=np.int32))
    assert events.item.tolist() == [3, 1]
    assert np.isnan(events.time_s).all() and np.isnan(events.value).all()
    assert events.kind.tolist() == [0, 0]
    assert [str(column.dtype) for column in events.columns] == ["int64", "float64", "int64", "float32"]
    assert EventArrays.of_items(np.array([3]), kind=2).kind.tolist() == [2]


def test_events_are_concatenated_in_order_and_taken_by_position() -> None:
    one = EventArrays(
        np.array([1, 2]), np.array([5.0, 6.0]), np.array([0, 1]), np.array([0.5, 1.5], np.float32)
    )
    events = EventArrays.concatenate([one, EventArrays.of_items(np.array([9])), one])
    assert events.item.tolist() == [1, 2, 9, 1, 2]
    taken = events.take(np.array([1, 4]))
    assert [column.tolist() for column in taken.columns] == [[2, 2], [6, 6], [1, 1], [1.5, 1.5]]


def test_concatenating_nothing_gives_empty_columns_of_the_same_types() -> None:
    events = EventArrays.concatenate([])
    assert len(events) == 0
    assert [column.dtype for column in events.columns] == [
        column.dtype for column in EventArrays.of_items(np.array([1])).columns
    ]
