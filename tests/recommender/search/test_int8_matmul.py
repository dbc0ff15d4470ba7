from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reprise.errors import ArtefactError
from reprise.recommender.artefact.int8_graph import int8_matmul_graph
from reprise.recommender.search.int8_matmul import MAX_ITEM_CODE, MAX_QUERY_CODE, Int8Matmul


def matmul(code_ID: np.ndarray) -> Int8Matmul:
    return Int8Matmul(int8_matmul_graph(*code_ID.shape), code_ID)


@given(
    code_BD=arrays(np.int8, (3, 5), elements=st.integers(-MAX_QUERY_CODE, MAX_QUERY_CODE)),
    code_ID=arrays(np.int8, (7, 5), elements=st.integers(-MAX_ITEM_CODE, MAX_ITEM_CODE)),
)
def test_products_equal_integer_inner_products(code_BD: np.ndarray, code_ID: np.ndarray) -> None:
    expected_BI = code_BD.astype(np.int32) @ code_ID.T.astype(np.int32)
    assert matmul(code_ID)(code_BD).tolist() == expected_BI.tolist()


@pytest.mark.parametrize("width", [1, 2, 3, 64, 127, 1024, 2048])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_codes_do_not_overflow_at_any_width(width: int, sign: int) -> None:
    code_ID = np.full((33, width), sign * MAX_ITEM_CODE, dtype=np.int8)
    code_BD = np.full((9, width), MAX_QUERY_CODE, dtype=np.int8)
    assert (matmul(code_ID)(code_BD) == sign * MAX_ITEM_CODE * MAX_QUERY_CODE * width).all()


def test_two_products_of_the_largest_codes_fit_in_sixteen_bits() -> None:
    """Some processors add two products in 16 bits, and would cut off a larger sum without an error."""
    assert 2 * MAX_ITEM_CODE * (2 * MAX_QUERY_CODE + 1) < 2**15


@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (300, 2)])
def test_the_graph_is_valid_onnx_and_takes_the_codes_from_outside(
    shape: tuple[int, int], tmp_path: Path
) -> None:
    file = tmp_path / "int8_matmul.onnx"
    file.write_bytes(int8_matmul_graph(*shape))
    assert file.stat().st_size < 500
    # the checker reads external data from a file; onnxruntime gets it from memory instead
    (tmp_path / "memory").write_bytes(bytes(shape[0] * shape[1]))
    onnx.checker.check_model(file, full_check=True)
    (codes, _) = onnx.load(file, load_external_data=False).graph.initializer
    assert tuple(codes.dims) == shape[::-1]


def test_the_items_may_be_freed_after_opening() -> None:
    """The session has its own copy of the codes."""
    code_ID = np.full((40, 6), 3, dtype=np.int8)
    product = matmul(code_ID)
    code_ID[:] = 0
    assert (product(np.ones((1, 6), dtype=np.int8)) == 18).all()


@pytest.mark.parametrize("graph", [b"", b"not a graph", int8_matmul_graph(7, 4)])
def test_a_graph_for_other_items_is_an_artefact_error(graph: bytes) -> None:
    with pytest.raises(
        ArtefactError,
        match=r"^int8_matmul\.onnx cannot be run by onnxruntime \S+ for items of shape \(7, 5\) \(.*\); export the ",
    ):
        Int8Matmul(graph, np.ones((7, 5), dtype=np.int8))
