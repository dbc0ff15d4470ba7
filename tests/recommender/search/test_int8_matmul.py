import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from reprise.recommender.search.int8_matmul import (
    GRAPH,
    ITEMS,
    ITEMS_PER_BLOCK,
    MAX_ITEM_CODE,
    MAX_QUERY_CODE,
    PRODUCTS,
    QUERIES,
    Int8Matmul,
)


@given(
    code_BD=arrays(np.int8, (3, 5), elements=st.integers(-MAX_QUERY_CODE, MAX_QUERY_CODE)),
    code_ID=arrays(np.int8, (7, 5), elements=st.integers(-MAX_ITEM_CODE, MAX_ITEM_CODE)),
)
def test_products_equal_integer_inner_products(code_BD: np.ndarray, code_ID: np.ndarray) -> None:
    expected_BI = code_BD.astype(np.int32) @ code_ID.T.astype(np.int32)
    assert Int8Matmul(code_ID)(code_BD).tolist() == expected_BI.tolist()


@pytest.mark.parametrize("items", [1, ITEMS_PER_BLOCK - 1, ITEMS_PER_BLOCK, ITEMS_PER_BLOCK + 1, 1000])
@pytest.mark.parametrize("queries", [1, 2, 9])
@pytest.mark.parametrize("width", [1, 3, 64, 127])
def test_products_are_in_the_order_of_the_items(items: int, queries: int, width: int) -> None:
    generator = np.random.default_rng(0)
    code_ID = generator.integers(-MAX_ITEM_CODE, MAX_ITEM_CODE + 1, (items, width), dtype=np.int8)
    code_BD = generator.integers(-MAX_QUERY_CODE, MAX_QUERY_CODE + 1, (queries, width), dtype=np.int8)
    product_BI = Int8Matmul(code_ID)(code_BD)
    assert np.array_equal(product_BI, code_BD.astype(np.int32) @ code_ID.T.astype(np.int32))


@pytest.mark.parametrize("width", [1, 2, 3, 64, 127, 1024, 2048])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("queries", [1, 9])
def test_the_largest_codes_do_not_overflow_at_any_width(width: int, sign: int, queries: int) -> None:
    code_ID = np.full((33, width), sign * MAX_ITEM_CODE, dtype=np.int8)
    code_BD = np.full((queries, width), MAX_QUERY_CODE, dtype=np.int8)
    assert (Int8Matmul(code_ID)(code_BD) == sign * MAX_ITEM_CODE * MAX_QUERY_CODE * width).all()


def test_two_products_of_the_largest_codes_fit_in_sixteen_bits() -> None:
    """Some processors add two products in 16 bits, and would cut off a larger sum without an error."""
    assert 2 * MAX_ITEM_CODE * (2 * MAX_QUERY_CODE + 1) < 2**15


def test_the_graph_is_the_product_of_unsigned_queries_and_signed_items() -> None:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes=[helper.make_node("MatMulInteger", [QUERIES, ITEMS], [PRODUCTS])],
        name="int8_matmul",
        inputs=[tensor(QUERIES, TensorProto.UINT8, "BD"), tensor(ITEMS, TensorProto.INT8, "GDN")],
        outputs=[tensor(PRODUCTS, TensorProto.INT32, "GBN")],
    )
    # the oldest versions of the format that every supported onnxruntime reads
    model = helper.make_model(graph, opset_imports=[helper.make_operatorsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    assert onnx.load_from_string(GRAPH) == model


def test_the_codes_may_be_freed_after_opening() -> None:
    code_ID = np.full((40, 6), 3, dtype=np.int8)
    product = Int8Matmul(code_ID)
    code_ID[:] = 0
    assert (product(np.ones((1, 6), dtype=np.int8)) == 18).all()
