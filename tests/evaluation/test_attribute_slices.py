from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from reprise.evaluation import attribute_slices
from reprise.evaluation.attribute_slices import attribute_masks
from reprise.evaluation.evaluator import evaluate
from reprise.testing.worlds import world


def with_columns(sequences, **columns):
    """Return a dataset whose items a, b, c, ... have these values, in the order of the ids."""
    dataset = world(sequences, valid=0, test=1)
    values = {name: dict(zip("abcdefghi", column, strict=False)) for name, column in columns.items()}
    table = pa.table(
        {
            "item_id": dataset.table["item_id"],
            **{name: [of.get(item) for item in dataset.items.ids.tolist()] for name, of in values.items()},
        }
    )
    return replace(dataset, table=table)


def masks(dataset, targets):
    item_N = np.array([dataset.items.index(item) for item in targets])
    return {
        column: {name: mask_N.tolist() for name, mask_N in found.items()}
        for column, found in attribute_masks(dataset, item_N)
    }


def test_a_target_with_several_categories_is_in_several_slices():
    dataset = with_columns([list("abcd")], genres=[["war"], ["war", "noir"], [], ["noir"]])
    assert masks(dataset, "abca") == {
        "genres": {
            "genres=war": [True, True, False, True],
            "genres=noir": [False, True, False, False],
            "genres: none": [False, False, True, False],
        }
    }


def test_categories_with_few_targets_are_one_slice(monkeypatch):
    """blue has three targets, red two, green and black one."""
    monkeypatch.setattr(attribute_slices, "MAX_VALUES", 2)
    dataset = with_columns([list("abcde")], colour=[["blue"], ["red"], ["green"], ["black"], ["white"]])
    assert masks(dataset, "aabbacd")["colour"] == {
        "colour=blue": [True, True, False, False, True, False, False],
        "colour=red": [False, False, True, True, False, False, False],
        "colour: others": [False, False, False, False, False, True, True],
    }


def test_a_column_that_does_not_divide_the_targets_is_left_out():
    """All targets are blue; the colour of d differs, but d is not a target."""
    assert masks(with_columns([list("abcd")], colour=[["blue"]] * 3 + [["red"]]), "abc") == {}


def test_a_column_of_many_categories_is_left_out(monkeypatch):
    monkeypatch.setattr(attribute_slices, "MAX_DISTINCT", 2)
    columns = {"brand": [["x"], ["y"], ["z"]], "size": [["s"], ["m"], ["m"]]}
    assert list(masks(with_columns([list("abc")], **columns), "abc")) == ["size"]


def test_long_names_are_shortened_and_equal_ones_share_a_slice():
    long = "a name of a category that is far too long to"
    dataset = with_columns([list("abc")], brand=[[f"{long} print"], [f"{long} show"], ["x"]])
    assert masks(dataset, "abc") == {
        "brand": {
            f"brand={long[:37]}...": [True, True, False],
            "brand=x": [False, False, True],
        }
    }


def test_items_that_the_item_table_lacks_have_no_category():
    dataset = with_columns([list("abcd")], colour=[["blue"], None, ["red"], None])
    assert masks(dataset, "abcd")["colour"]["colour: none"] == [False, True, False, True]


def test_only_the_first_columns_are_used(monkeypatch):
    monkeypatch.setattr(attribute_slices, "MAX_COLUMNS", 1)
    columns = {"size": [["s"], ["m"]], "brand": [["x"], ["y"]]}
    assert list(masks(with_columns([list("ab")], **columns), "ab")) == ["size"]


def test_reports_have_the_slices_of_the_item_table(table):
    """Targets a and b; a is ranked first."""
    dataset = with_columns([list("aba"), list("abb")], kind=[["x"], ["y"]])
    report = evaluate(table([2.0, 1.0]), dataset, at=(1,))
    assert report.slices["kind=x"].of == "column kind"
    assert report.slices["kind=x"].metrics["recall@1"].value == 1
    assert report.slices["kind=y"].metrics["recall@1"].value == pytest.approx(0)
