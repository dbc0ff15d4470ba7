import numpy as np
import pyarrow as pa
import pytest

from reprise.errors import DataError
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.items.catalogue import Catalogue

GOODS = Catalogue(pa.table({"item_id": ["a", "b", "c", "cold"], "count": [3, 2, 1, 0]}), warm=3)


def test_without_filters_there_is_no_mask() -> None:
    assert read_filters(GOODS, (), None, exclude_seen=False).mask([]) is None


def test_denied_items_are_excluded_and_unknown_ids_are_ignored() -> None:
    mask = read_filters(GOODS, ["b", "gone", "cold"], None, exclude_seen=False).mask([])
    assert mask is not None and mask.tolist() == [True, False, True]


def test_only_allowed_items_pass_and_unknown_ids_are_counted() -> None:
    filters = read_filters(GOODS, ["a"], ["a", "c", "gone", "cold"], exclude_seen=False)
    mask = filters.mask([])
    assert mask is not None and mask.tolist() == [False, False, True]
    assert filters.unknown_allowed == 2


def test_an_empty_allow_list_allows_nothing() -> None:
    mask = read_filters(GOODS, (), [], exclude_seen=False).mask([])
    assert mask is not None and not mask.any()


def test_items_seen_are_excluded_per_user() -> None:
    filters = read_filters(GOODS, ["b"], None, exclude_seen=True)
    mask = filters.mask([np.array([1, 1, 3]), np.array([], dtype=np.int64)])
    assert mask is not None and mask.tolist() == [[False, False, False], [True, False, True]]


def test_a_single_string_as_a_list_is_an_error() -> None:
    with pytest.raises(DataError, match=r"^deny is a list of item ids, got 'abc'; pass \['abc'\]$"):
        read_filters(GOODS, "abc", None, exclude_seen=False)
    with pytest.raises(DataError, match=r"^allow is a list of item ids, got 'abc'; pass \['abc'\]$"):
        read_filters(GOODS, (), "abc", exclude_seen=False)
