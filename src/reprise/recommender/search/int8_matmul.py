"""Exact products of small integers, several times as fast as products of floats. ONNX Runtime computes them.

The ONNX graph is made at export time, by `reprise.recommender.artefact.int8_graph`: the package `onnx`, which builds it, takes
longer to import than everything else that a recommender needs. The graph has the shape of the items and no numbers.
Shape letters: B queries, I items, D width.
"""

from typing import Any

import numpy as np
import onnxruntime

from reprise.arrays import Int8Array, Int32Array
from reprise.errors import ArtefactError

QUERIES, ITEMS, PRODUCTS = "x", "w", "y"
"""Names of the graph's tensors: the shifted codes of the queries, the codes of the items, and the products."""
MAX_ITEM_CODE = 127
"""Largest magnitude of an item's codes."""
MAX_QUERY_CODE = 63
"""Largest magnitude of a query's codes. With `QUERY_SHIFT` added they are from 1 to 127. Processors without instructions for
8-bit products add two products in 16 bits; 2 * 127 * 127 = 32,258 is below 2^15, so no such sum overflows."""
QUERY_SHIFT = MAX_QUERY_CODE + 1
"""Number added to the codes of queries: the graph takes unsigned bytes and subtracts it again."""
MAX_BYTES = 2**31 - 2**20
"""Largest number of item codes that one graph can hold."""


class Int8Matmul:
    """Inner products of queries with all items. Safe to call from several threads."""

    def __init__(self, graph: bytes, code_ID: Int8Array) -> None:
        """Open a session that holds the items.

        Args:
            graph: ONNX graph for items of this shape, from `int8_matmul_graph`.
            code_ID: Codes of the items, from -127 to 127; at most `MAX_BYTES` of them.

        Raises:
            ArtefactError: the graph cannot be read, or is for another shape.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: they are raised as well
        # The items become a constant of the session, so onnxruntime packs them once. As an input they would be packed in
        # each call, which takes longer than the product.
        items = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(code_ID.T))
        options.add_external_initializers([ITEMS], [items])
        try:
            self._session: Any = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a different class for each kind of failure
            raise ArtefactError(
                f"int8_matmul.onnx cannot be run by onnxruntime {onnxruntime.__version__} for items of shape "
                f"{code_ID.shape} ({error}); export the model again"
            ) from error

    def __call__(self, code_BD: Int8Array) -> Int32Array:
        """Return the products [B, I] of queries, whose codes are from -63 to 63, with all items."""
        shifted_BD = np.add(code_BD, QUERY_SHIFT, dtype=np.int8).view(np.uint8)
        product_BI: Int32Array = self._session.run([PRODUCTS], {QUERIES: shifted_BD})[0]
        return product_BI
