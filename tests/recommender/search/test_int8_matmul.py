import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reprise.recommender.search.int8_matmul import LARGEST, LARGEST_ASKED, Int8Matmul, product_graph


@given(
    code_BD=arrays(np.int8, (3, 5), elements=st.integers(-LARGEST_ASKED, LARGEST_ASKED)),
    code_ID=arrays(np.int8, (7, 5), elements=st.integers(-LARGEST, LARGEST)),
)
def test_a_product_is_the_sum_of_the_products(code_BD: np.ndarray, code_ID: np.ndarray) -> None:
    expected_BI = code_BD.astype(np.int32) @ code_ID.T.astype(np.int32)
    assert Int8Matmul(code_ID)(code_BD).tolist() == expected_BI.tolist()


@pytest.mark.parametrize("width", [1, 2, 3, 64, 127, 1024, 2048])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_numbers_are_not_cut_off_at_any_width(width: int, sign: int) -> None:
    code_ID = np.full((33, width), sign * LARGEST, dtype=np.int8)
    code_BD = np.full((9, width), LARGEST_ASKED, dtype=np.int8)
    assert (Int8Matmul(code_ID)(code_BD) == sign * LARGEST * LARGEST_ASKED * width).all()


def test_two_products_of_the_largest_bytes_fit_in_sixteen_bits() -> None:
    """What some processors add in one step, and what they would cut off there without a word."""
    assert 2 * LARGEST * (2 * LARGEST_ASKED + 1) < 2**15


@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (300, 2)])
def test_the_graph_is_valid_onnx(shape: tuple[int, int]) -> None:
    model = onnx.load_from_string(product_graph(np.ones(shape, dtype=np.int8)))
    onnx.checker.check_model(model, full_check=True)
    (weights, _) = model.graph.initializer
    assert tuple(weights.dims) == shape[::-1]
