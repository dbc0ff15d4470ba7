"""Given vectors: widths, missing and broken vectors, and principal components in one step or in batches."""

import numpy as np
import pyarrow as pa
import pytest
from item_shops import features, fitted

from reprise.content import Vector
from reprise.content.columns import linear_compression
from reprise.errors import DataError

NAN = float("nan")


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64())]
)
def test_narrow_vectors_are_scaled_only(kind: pa.DataType) -> None:
    values = pa.array([[3.0, 4.0], None, [0.0, 0.0], [1.0, 0.0]], kind)
    column = fitted(Vector("image"), values)
    assert features(column, values) == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, 0], [1, 0]]))


def low_rank(rows: int, width: int, rank: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(size=(rows, rank)) @ generator.normal(size=(rank, width))


def test_wide_vectors_are_compressed_without_loss_if_their_rank_is_low() -> None:
    vectors = low_rank(200, 40, 3)
    column = fitted(Vector("image", size=4), list(vectors))
    assert column.width == 4 and column.explained == pytest.approx(1, abs=1e-3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = features(column, list(vectors))
    distances = [np.linalg.norm(each[:50, None] - each[None, :50], axis=2) for each in (unit, found)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-3)


def test_many_vectors_are_compressed_in_batches_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = low_rank(1000, 30, 4)
    together = fitted(Vector("image", size=4), list(vectors))
    monkeypatch.setattr(linear_compression, "PCA_ROWS", 50)
    monkeypatch.setattr(linear_compression, "BATCH_ROWS", 64)
    batches = fitted(Vector("image", size=4), list(vectors))
    assert batches.explained == pytest.approx(together.explained, abs=1e-2)
    overlap = np.linalg.svd(together.tensors()["components"].T @ batches.tensors()["components"])[1]
    assert overlap.min() > 0.9


def test_size_0_keeps_the_vectors() -> None:
    assert fitted(Vector("image", size=0), list(low_rank(300, 200, 3))).width == 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [1.0]], r"vector of 1 numbers for row 2, expected 2"),
        (
            [[1.0, 2.0], [1.0, NAN]],
            r"NaN, null or an infinite number for row 2 \(rows with such a vector: 1\)",
        ),
        ([[1.0, 2.0], [1.0, None]], "NaN, null or an infinite number for row 2"),
        ([[1.0, float("inf")]], "NaN, null or an infinite number for row 1"),
        ([["a", "b"]], "of type list<.*string>, not vectors"),
        ([1.0, 2.0], "of type double, not vectors"),
        ([[0.0, 0.0]], "no value for any item of the training part"),
    ],
)
def test_a_broken_vector_is_named(values: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitted(Vector("image"), values)


def test_the_row_of_a_broken_vector_has_its_item_id() -> None:
    with pytest.raises(DataError, match=r"for item 'b' \(row 2\)"):
        fitted(Vector("image"), [[1.0], [NAN]], item_id=["a", "b"])
