"""Item ids map to indices and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.data.vocabulary import PAD, Vocabulary
from reprise.errors import DataError


def vocabulary(ids: list[int] | list[str], warm: int) -> Vocabulary:
    return Vocabulary(np.array(ids, dtype=object if isinstance(ids[0], str) else np.int64), warm)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, unique=True))
def test_integer_ids_map_to_indices_and_back(ids: list[int]) -> None:
    known = vocabulary(ids, len(ids))
    assert known.item_ids(known.indices(ids)) == ids
    assert known.indices(ids).tolist() == list(range(1, len(ids) + 1))
    assert known.integer_ids


@given(st.lists(st.text(), min_size=1, unique=True))
def test_string_ids_map_to_indices_and_back(ids: list[str]) -> None:
    known = vocabulary(ids, 0)
    assert [known.item_ids([known.index(item_id)])[0] for item_id in ids] == ids
    assert not known.integer_ids


@given(st.lists(st.integers(0, 50), min_size=1, unique=True), st.integers(0, 60))
def test_only_known_ids_have_an_index(ids: list[int], item_id: int) -> None:
    known = vocabulary(ids, len(ids))
    assert (item_id in known) == (item_id in ids)
    assert (known.index(item_id) != PAD) == (item_id in ids)


def test_unknown_ids_map_to_pad() -> None:
    assert vocabulary(["a", "b"], 2).indices(["b", "x", "a"]).tolist() == [2, PAD, 1]


def test_an_integer_and_its_text_are_different_ids() -> None:
    assert vocabulary([7], 1).index("7") == PAD


def test_a_repeated_id_is_refused() -> None:
    with pytest.raises(DataError, match="1 item ids are repeated; ids must be unique"):
        vocabulary(["a", "b", "a"], 1)


def test_more_warm_items_than_items_are_refused() -> None:
    with pytest.raises(DataError, match="a vocabulary of 2 items cannot have 3 warm items"):
        vocabulary(["a", "b"], 3)


def test_a_view_for_a_model_that_scores_cold_items_shares_the_ids() -> None:
    vocabulary = Vocabulary(np.array(["a", "b", "c"], dtype=object), warm=2)
    view = vocabulary.scoring(3)
    assert (vocabulary.scored, view.scored, view.warm) == (2, 3, 2)
    assert view.index("c") == 3
    assert vocabulary.scoring(2) is vocabulary


def test_a_vocabulary_cannot_score_fewer_items_than_the_warm_ones() -> None:
    with pytest.raises(DataError, match="3 items with 2 warm ones cannot have 1 scored ones"):
        Vocabulary(np.array(["a", "b", "c"], dtype=object), warm=2, scored=1)
