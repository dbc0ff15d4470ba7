"""Numbers of users of items."""

from dataclasses import replace

import numpy as np

from reprise.data.dataset import SequenceDataset
from reprise.models.counts.item_users import count_item_users
from reprise.testing.worlds import world


def by_id(log: SequenceDataset) -> dict[str, int]:
    return {str(log.items.ids[place]): users for place, users in enumerate(count_item_users(log).tolist())}


def test_a_user_counts_once_for_each_item() -> None:
    log = world([["a", "a", "b", "b", "a"], ["b", "a", "a", "a", "b"], ["c", "c", "c", "a", "a"]])
    assert by_id(replace(log, valid_end=log.offset[1:])) == {"a": 3, "b": 2, "c": 1}


def test_events_of_the_test_part_do_not_count() -> None:
    log = world([["a", "b", "c", "a"], ["a", "c", "b", "a"]])
    before = replace(log, train_end=log.offset[:-1] + 1, valid_end=log.offset[:-1] + 2)
    assert by_id(before) == {"a": 2, "b": 1, "c": 1}


def test_random_logs_agree_with_sets_of_users() -> None:
    generator = np.random.default_rng(0)
    log = world([generator.integers(30, size=20).tolist() for _ in range(50)])
    log = replace(log, train_end=log.offset[1:], valid_end=log.offset[1:])
    for item, users in enumerate(count_item_users(log).tolist(), 1):
        rows = [row for row in range(len(log)) if item in log.item[log.offset[row] : log.offset[row + 1]]]
        assert users == len(rows)


def test_a_user_with_several_sessions_counts_once() -> None:
    log = world([["a", "b"], ["a", "a"], ["c", "a"], ["a", "c"]], valid=0, test=0)
    assert by_id(log) == {"a": 4, "b": 1, "c": 2}
    assert by_id(replace(log, owner=np.array([1, 0, 1, 1]))) == {"a": 2, "b": 1, "c": 1}
