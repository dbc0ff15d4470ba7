"""Numbers: knots by rank or logarithm, outliers, missing values, and numbers relative to their category."""

import numpy as np
import pyarrow as pa
import pytest
from item_shops import features, fitted

from reprise.content import Number
from reprise.errors import ConfigError, DataError


def test_a_number_lies_between_its_two_knots() -> None:
    column = fitted(Number("price", knots=3, clip=(0, 1)), [0.0, 10.0, 30.0])
    assert features(column, [0.0, 10.0, 30.0]).tolist() == np.eye(3).tolist()
    assert features(column, [15.0])[0] == pytest.approx([0, 15 / 20, 5 / 20])


def test_knots_by_rank_follow_the_values_and_knots_by_log_the_magnitudes() -> None:
    values = [1.0] * 50 + [2.0] * 50 + [1000.0]
    assert fitted(Number("price", knots=3), values).tensors()["knots"].tolist() == [1, 2]
    by_log = fitted(Number("price", scaling="log", clip=(0, 1), knots=3), values).tensors()["knots"]
    assert by_log == pytest.approx([np.log(2), (np.log(2) + np.log(1001)) / 2, np.log(1001)])


@pytest.mark.parametrize("scaling", ["quantile", "log"])
def test_an_outlier_counts_as_the_last_knot(scaling: str) -> None:
    column = fitted(Number("price", scaling=scaling), np.arange(1000.0))
    extreme = features(column, [1e12, -1e12, 1e300, -1e300])
    assert np.argmax(extreme, axis=1).tolist() == [column.width - 1, 0] * 2
    assert extreme.max(axis=1).tolist() == [1.0] * 4


def test_one_outlier_does_not_move_the_knots() -> None:
    values = np.arange(1000.0)
    plain = fitted(Number("price"), values)
    assert fitted(Number("price"), [*values[:-1], 1e12]).tensors()["knots"].tolist() == pytest.approx(
        plain.tensors()["knots"].tolist(), abs=1
    )


def test_a_missing_number_has_no_features_and_every_number_has_some() -> None:
    column = fitted(Number("price"), [1.0, 2.0, None, float("nan"), 5.0])
    assert features(column, [None, float("nan"), float("inf")]).any() == np.False_
    assert features(column, [1.0, 2.0, 3.0, -7.0]).any(axis=1).all()


def test_a_constant_column_shows_whether_there_is_a_value() -> None:
    column = fitted(Number("price"), [3.0, None, 3.0])
    assert features(column, [3.0, None, 99.0]).tolist() == [[1.0], [0.0], [1.0]]


def test_a_price_counts_relative_to_its_category() -> None:
    group = ["lamp"] * 5 + ["car"] * 5
    price = [80.0, 90.0, 100.0, 110.0, 120.0, 8e3, 9e3, 10e3, 11e3, 12e3]
    column = fitted(Number("price", per="group", knots=2, clip=(0, 1)), price, group=group)
    cheap_and_dear = features(column, [80.0, 8e3, 120.0, 12e3], group=["lamp", "car", "lamp", "car"])
    assert cheap_and_dear[0] == pytest.approx(cheap_and_dear[1], abs=0.1)
    assert cheap_and_dear[2] == pytest.approx(cheap_and_dear[3], abs=0.1)
    # a category that training did not have counts relative to all items
    unknown = features(column, [1.0, 1e6], group=["boat", None])
    assert np.argmax(unknown, axis=1).tolist() == [0, column.width - 1]


def test_text_is_refused_as_numbers() -> None:
    with pytest.raises(
        DataError, match="column 'price' of the item table holds values of type string, not numbers"
    ):
        fitted(Number("price"), ["cheap"])


def test_a_column_without_values_is_refused() -> None:
    with pytest.raises(
        DataError, match="'price' of the item table has no value for any item of the training part"
    ):
        fitted(Number("price"), pa.array([None, float("nan")], pa.float64()))


@pytest.mark.parametrize("clip", [(0.5, 0.5), (-0.1, 1), (0, 1.1)])
def test_clip_holds_two_ascending_quantiles(clip: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="two ascending quantiles"):
        Number("price", clip=clip)
