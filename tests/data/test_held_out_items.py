import numpy as np
import pytest

from reprise.data.held_out_items import hold_out_items
from reprise.data.leakage.checks import check_leaks
from reprise.errors import ConfigError, DataError
from reprise.testing.worlds import cycle, world


def events(dataset, part):
    """Return the item ids of a part of each sequence."""
    first, last = dataset.part(part)
    return [dataset.items.item_ids(dataset.item[a:b]) for a, b in zip(first, last, strict=True)]


@pytest.fixture
def dataset():
    return cycle(items=20, sequences=40)


@pytest.fixture
def held_out(dataset):
    return hold_out_items(dataset, valid=0.1, test=0.3, seed=1)


def cold_items(dataset, held_out):
    """Return the items that are held out from the validation part on, and those from the test part on."""
    cold = {str(item) for item in held_out.items.ids[held_out.items.warm :]}
    seen = {item for row in events(held_out, "valid") for item in row}
    return cold & seen, cold - seen


def test_the_shares_of_the_warm_items_are_cold(dataset, held_out):
    assert held_out.items.warm == 20 - 2 - 6
    assert sorted(held_out.items.ids) == sorted(dataset.items.ids)
    early, late = cold_items(dataset, held_out)
    assert (len(early), len(late)) == (2, 6)


def test_only_earlier_events_of_held_out_items_are_removed(dataset, held_out):
    early, late = cold_items(dataset, held_out)
    for part, removed in (("train", early | late), ("valid", late), ("test", set())):
        expected = [[item for item in row if item not in removed] for row in events(dataset, part)]
        assert events(held_out, part) == expected


def test_times_stay_with_their_events(dataset, held_out):
    pairs = [
        {
            (row, it.items.item_ids([it.item[e]])[0], int(it.time_ms[e]))
            for row in range(len(it))
            for e in range(it.offset[row], it.offset[row + 1])
        }
        for it in (dataset, held_out)
    ]
    assert pairs[1] < pairs[0]


def test_the_item_table_follows_the_new_order(held_out):
    assert held_out.table["item_id"].to_pylist() == held_out.items.ids.tolist()
    trained = [item for row in events(held_out, "train") for item in row]
    assert held_out.table["count"].to_pylist() == [trained.count(item) for item in held_out.items.ids]
    assert held_out.table["count"].to_pylist() == sorted(held_out.table["count"].to_pylist(), reverse=True)


def test_items_that_were_cold_before_stay_cold():
    dataset = world([list("abcabz"), list("bcabcz")], valid=1, test=1)
    found = hold_out_items(dataset, valid=0.0, test=0.4)
    assert found.items.warm == 2
    assert found.items.index("z") > 2


def test_the_result_has_no_leaks_and_its_own_fingerprint(dataset, held_out):
    check_leaks(held_out)
    assert held_out.path is None
    assert held_out.fingerprint != dataset.fingerprint
    assert held_out.fingerprint == hold_out_items(dataset, 0.1, 0.3, seed=1).fingerprint
    assert held_out.fingerprint != hold_out_items(dataset, 0.1, 0.3, seed=2).fingerprint
    assert held_out.split["held_out"] == {"valid": 0.1, "test": 0.3, "seed": 1}


def test_a_share_of_0_changes_no_event(dataset):
    found = hold_out_items(dataset, valid=0.0, test=0.0)
    assert np.array_equal(found.item, dataset.item)
    assert np.array_equal(found.offset, dataset.offset)


@pytest.mark.parametrize("shares", [(-0.1, 0.3), (0.5, 0.5)])
def test_shares_out_of_range_are_rejected(dataset, shares):
    with pytest.raises(ConfigError, match="valid and test must be 0 or more and together below 1"):
        hold_out_items(dataset, *shares)


def test_a_log_whose_only_items_are_held_out_is_an_error():
    with pytest.raises(DataError, match="no training event is left; hold out fewer items"):
        hold_out_items(world([list("aaa"), list("aaa")]), valid=0.0, test=0.9)
