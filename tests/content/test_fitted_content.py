"""Fitted content: blocks, run-time values, restoring without loss, and fitting on warm items only."""

import json
import subprocess
import sys
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from item_shops import shop

from reprise.content import Category, Date, FittedContent, Number, Text, Vector, fit_content
from reprise.data import SequenceDataset
from reprise.errors import ArtefactError, ConfigError, DataError

ROWS = 24
SPECS = (
    Text("title"),
    Category("genres", separator="|"),
    Category("tags"),
    Number("price", per="brand"),
    Date("added"),
    Vector("image", size=3),
)


def toy_shop(cold: int = 0, **changed: Any) -> SequenceDataset:
    generator = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "title": [
            f"{('red', 'blue')[row % 2]} {('lamp', 'chair', 'vase')[row % 3]} 家具" for row in range(ROWS)
        ],
        "brand": [f"brand {row % 4}" for row in range(ROWS)],
        "genres": [("home|light", "home", "garden|home")[row % 3] for row in range(ROWS)],
        "tags": [[1, 2], [2], None, [3, 1]] * (ROWS // 4),
        "price": [None if row == 5 else 2.5 * row for row in range(ROWS)],
        "added": [date(1969, 6, 1 + row) for row in range(ROWS)],
        "image": pa.array(
            list(generator.normal(size=(ROWS, 8)).astype(np.float32)), pa.list_(pa.float32(), 8)
        ),
    }
    return shop(cold, **{**columns, **changed})


@pytest.fixture(scope="module")
def content() -> FittedContent:
    return fit_content(SPECS, toy_shop())


def restored(content: FittedContent) -> FittedContent:
    """The content after it was written as JSON and as arrays without Python objects."""
    tensors = {
        name: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
        for name, array in content.to_tensors().items()
    }
    return FittedContent.restore(json.loads(json.dumps(content.to_json())), tensors)


def test_each_block_has_length_1_or_0(content: FittedContent) -> None:
    feature_MF = content.encode(toy_shop().table)
    for block in content.blocks:
        lengths = np.linalg.norm(feature_MF[:, block.first : block.last], axis=1)
        assert np.all((np.abs(lengths - 1) < 1e-6) | (lengths == 0))
    price = next(block for block in content.blocks if block.column == "price")
    assert np.flatnonzero(~feature_MF[:, price.first : price.last].any(axis=1)).tolist() == [5]
    assert feature_MF.dtype == np.float32


def test_blocks_cover_all_features_in_order(content: FittedContent) -> None:
    assert [block.column for block in content.blocks] == [spec.column for spec in SPECS]
    assert [block.first for block in content.blocks] == [0, *(block.last for block in content.blocks[:-1])]
    assert len(content.feature_columns) == content.width == content.blocks[-1].last
    assert content.feature_columns[content.blocks[2].first] == "tags"


def test_values_have_the_features_of_their_row(content: FittedContent) -> None:
    table = toy_shop().table
    assert content.encode_values(table.to_pylist()) == pytest.approx(content.encode(table), abs=1e-6)


def test_a_missing_column_and_unknown_keys_count_as_missing_values(content: FittedContent) -> None:
    full = content.encode(toy_shop().table.select(["title", "price", "brand"]))
    assert content.is_described(full).all()
    some = content.encode_values([{"title": "red lamp", "weight": object()}, {"weight": 3}, {}])
    assert content.is_described(some).tolist() == [True, False, False]
    title = content.blocks[0]
    assert not some[:, title.last :].any()


def test_an_empty_table_has_no_rows(content: FittedContent) -> None:
    assert content.encode(toy_shop().table.slice(0, 0)).shape == (0, content.width)
    assert content.encode_values([]).shape == (0, content.width)


def test_tables_are_encoded_in_blocks_of_rows(
    content: FittedContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = toy_shop().table
    whole = content.encode(table)
    monkeypatch.setattr("reprise.content.fitted_content.BLOCK_ROWS", 7)
    assert content.encode(table) == pytest.approx(whole, abs=1e-6)


any_text = st.text(max_size=20)
numbers = st.one_of(
    st.none(), st.just(float("nan")), st.just(1e12), st.floats(), st.integers(-(10**30), 10**30)
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "title": st.one_of(st.none(), any_text),
        "brand": st.one_of(st.none(), any_text, st.just("brand 1"), st.integers()),
        "genres": st.one_of(st.none(), any_text, st.just("home|light"), st.lists(any_text, max_size=3)),
        "tags": st.one_of(st.none(), st.lists(st.one_of(st.integers(0, 5), any_text), max_size=3)),
        "price": numbers,
        "added": st.one_of(st.none(), st.just(""), st.dates(), st.datetimes(), st.dates().map(str)),
        "image": st.one_of(st.none(), st.lists(st.floats(-1e30, 1e30), min_size=8, max_size=8)),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=5))
def test_restored_content_gives_exactly_the_same_features(
    content: FittedContent, items: list[dict[str, Any]]
) -> None:
    feature_MF = content.encode_values(items)
    assert np.isfinite(feature_MF).all()
    assert restored(content).encode_values(items).tolist() == feature_MF.tolist()


def test_restored_content_encodes_tables_alike(content: FittedContent) -> None:
    table = toy_shop().table
    again = restored(content)
    assert again.encode(table).tolist() == content.encode(table).tolist()
    assert (again.blocks, again.describe()) == (content.blocks, content.describe())
    assert all(array.dtype != object for array in content.to_tensors().values())


def test_cold_rows_do_not_change_what_is_fitted() -> None:
    cold = 6
    dataset = toy_shop(cold)
    changed = toy_shop(
        cold,
        **{
            name: pa.chunked_array([dataset.table[name].slice(0, ROWS - cold).combine_chunks(), other])
            for name, other in {
                "title": pa.array(["completely different"] * cold),
                "brand": pa.array(["other brand"] * cold),
                "genres": pa.array(["new|newer"] * cold),
                "tags": pa.array([[77, 78]] * cold),
                "price": pa.array([1e12] * cold),
                "added": pa.array([date(2030, 1, 1)] * cold),
                "image": pa.array([[1e5] * 8] * cold, pa.list_(pa.float32(), 8)),
            }.items()
        },
    )
    for columns in (SPECS, ()):
        fits = [fit_content(columns, each) for each in (dataset, changed)]
        assert fits[0].to_json() == fits[1].to_json()
        tensors = [fit.to_tensors() for fit in fits]
        assert tensors[0].keys() == tensors[1].keys()
        for name, array in tensors[0].items():
            assert array.tobytes() == tensors[1][name].tobytes(), name
        assert not np.array_equal(
            fits[0].encode(dataset.table)[-cold:], fits[0].encode(changed.table)[-cold:]
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"title": 3}, r"column 'title' of item 1 must hold text, got 3; pass a text"),
        ({"item_id": "p1", "price": "cheap"}, r"column 'price' of item 'p1' must hold numbers, got 'cheap'"),
        ({"price": [1.0]}, "column 'price' of item 1 must hold numbers"),
        ({"tags": 4}, "column 'tags' of item 1 must hold lists of categories, got 4"),
        ({"tags": [{"a": 1}]}, "column 'tags' of item 1 must hold lists of categories"),
        ({"brand": ["a"], "price": 1}, "column 'brand' of item 1 must hold categories"),
        ({"genres": {"a": 1}}, "column 'genres' of item 1 must hold categories"),
        ({"added": 17}, "column 'added' of item 1 must hold dates, got 17; pass an ISO 8601 text"),
        ({"added": "soon"}, "column 'added' holds dates, and 'soon' is not ISO 8601"),
        ({"image": [1.0] * 7}, "column 'image' of item 1 must hold vectors of 8 numbers.*this one has 7"),
        (
            {"image": [1.0] * 7 + [float("nan")]},
            "column 'image' of item 1 must hold vectors of finite numbers",
        ),
        ({"image": [1.0] * 7 + [1e300]}, "column 'image' of item 1 must hold vectors of finite numbers"),
        ({"image": ["1"] * 8}, "column 'image' of item 1 must hold vectors"),
        ({"image": "photo.png"}, "column 'image' of item 1 must hold vectors"),
        (17, "item 1 must be a mapping from column to value, got 17"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(content: FittedContent, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        content.encode_values([row])


def test_rows_are_a_list_of_mappings(content: FittedContent) -> None:
    with pytest.raises(ConfigError, match="rows must be a list of mappings"):
        content.encode_values({"title": "a lamp"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["tilte"], "the item table has no column 'tilte'; did you mean 'title'"),
        ([Number("price", per="brnd")], "the item table has no column 'brnd'; did you mean 'brand'"),
        (["item_id"], "column 'item_id' of the item table is left out: the ids of the items"),
        ([3], r"columns must be names or column specs such as Text\('title'\), got 3"),
        ("title", "columns must be a list of column specs or names, got 'title'"),
    ],
)
def test_an_unknown_column_is_refused(columns: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_content(columns, toy_shop())


def test_a_column_that_only_cold_items_have_is_refused() -> None:
    dataset = toy_shop(6, price=[None] * (ROWS - 6) + [1.0] * 6)
    with pytest.raises(
        DataError, match="'price' of the item table has no value for any item of the training part"
    ):
        fit_content([Number("price")], dataset)


def test_a_table_of_ids_has_no_content() -> None:
    with pytest.raises(DataError, match="no column of the item table describes an item"):
        fit_content((), shop(sku=[f"A{row}" for row in range(24)]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, tensors: data["columns"][0].pop("state"),
        lambda data, tensors: data["columns"][0].update(spec=3),
        lambda data, tensors: data.update(columns=[]),
        lambda data, tensors: data.update(format=2),
        lambda data, tensors: tensors.pop("0.idf"),
        lambda data, tensors: tensors.update({"0.idf": tensors["0.idf"][1:]}),
        lambda data, tensors: tensors.update({"0.terms": np.array([255, 254], np.uint8)}),
        lambda data, tensors: tensors.update({"1.weights": np.ones(1, np.float32)}),
        lambda data, tensors: data["columns"][1]["state"].update(form="none"),
        lambda data, tensors: tensors.update({"3.medians": np.zeros(0)}),
        lambda data, tensors: tensors.update({"4.knots": np.array([np.nan])}),
        lambda data, tensors: tensors.update({"5.mean": np.zeros(2)}),
    ],
)
def test_damaged_content_is_refused(content: FittedContent, damage: Any) -> None:
    data, tensors = json.loads(json.dumps(content.to_json())), dict(content.to_tensors())
    damage(data, tensors)
    with pytest.raises(ArtefactError):
        FittedContent.restore(data, tensors)


def test_an_encoder_outside_the_package_needs_trust() -> None:
    name = "fractions:Fraction"
    data = {
        "format": 1,
        "columns": [
            {"spec": {"class": "reprise.content:Text", "column": "title", "encoder": name}, "state": {}}
        ],
    }
    with pytest.raises(ConfigError, match="lies outside the package reprise"):
        FittedContent.restore(data, {})


def test_importing_content_loads_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, reprise.content as c; c.fit_content, c.Text; "
        "print([m for m in ('torch', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
