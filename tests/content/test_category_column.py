"""Categories: one value, lists and separators, rare and unseen values, and compression."""

import numpy as np
import pyarrow as pa
import pytest
from item_shops import features, fitted

from reprise.content import Category


def test_each_value_has_its_indicator() -> None:
    column = fitted(Category("colour"), ["red", "red", "blue", "blue", None])
    assert column.state()["values"] == ["red", "blue"]
    assert features(column, ["red", "blue", None, " red "]).tolist() == [[1, 0], [0, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize(
    ("values", "separator"),
    [
        (["a|b", "b| a", "a", "b", ""], "|"),
        ([["a", "b"], ["b", "a", "a"], ["a"], ["b"], []], ""),
        (pa.array([[1, 2], [2, 1], [1], [2], None], pa.list_(pa.int32())), ""),
    ],
    ids=["text", "lists", "integers"],
)
def test_several_values_share_the_length_of_the_row(values: object, separator: str) -> None:
    column = fitted(Category("genres", separator=separator), values)
    half = pytest.approx([np.sqrt(0.5), np.sqrt(0.5)])
    found = features(column, values)
    assert found[0] == half and found[1] == half
    assert sorted(found[2:4].tolist()) == [[0, 1], [1, 0]] and found[4].tolist() == [0, 0]


def test_rare_and_unseen_values_are_other() -> None:
    column = fitted(Category("brand", min_items=3), ["a"] * 4 + ["b"] * 3 + ["c", "d"])
    assert column.state()["values"] == ["a", "b"]
    assert features(column, ["c", "new"]).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_an_unseen_value_says_nothing_if_training_had_no_rare_values() -> None:
    column = fitted(Category("brand"), ["a", "a", "b", "b"])
    assert features(column, ["new"]).tolist() == [[0, 0]]


def test_rare_values_of_a_row_count_more_than_frequent_ones() -> None:
    column = fitted(Category("tags"), [["all", "some"]] * 2 + [["all"]] * 8)
    everywhere, rarely = features(column, [["all", "some"]])[0][
        [column.state()["values"].index(v) for v in ("all", "some")]
    ]
    assert rarely > everywhere > 0


def test_many_values_of_one_kind_are_cut_and_lists_are_compressed() -> None:
    generator = np.random.default_rng(0)
    single = [f"brand {value}" for value in generator.integers(50, size=1000)]
    column = fitted(Category("brand", size=10), single)
    assert column.width == 10 and len(column.state()["values"]) == 9 and column.explained == 1
    lists = [[f"tag {value}" for value in generator.integers(50, size=4)] for _ in range(1000)]
    compressed = fitted(Category("tags", size=10), lists)
    assert compressed.width == 10 and 0 < compressed.explained < 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 1, 2, 2], ["1", "2"]),
        ([1.0, 1.0, 2.5, 2.5], ["1", "2.5"]),
        ([True, True, False, False], ["true", "false"]),
    ],
)
def test_numbers_and_booleans_are_categories_by_their_text(values: list, words: list[str]) -> None:
    assert fitted(Category("group"), values).state()["values"] == words
