"""Exact products of small integers, several times as fast as products of floats. ONNX Runtime computes them.

Shape letters: B queries, I items, D width, G blocks of items, N items of a block.
"""

from functools import cache
from typing import Any

import numpy as np
import onnxruntime

from reprise.arrays import Int8Array, Int32Array

GRAPH = bytes.fromhex(
    "08083a760a180a01780a0177120179220d4d61744d756c496e7465676572120b696e74385f6d61746d756c5a150a0178"
    "12100a0e0802120a0a031201420a031201445a1a0a017712150a130803120f0a031201470a031201440a0312014e621a"
    "0a017912150a130806120f0a031201470a031201420a0312014e42040a00100d"
)
"""ONNX graph of y_GBN = x_BD w_GDN, as protobuf. A test builds the same graph with the package `onnx`, which takes longer to
import than everything else that a recommender needs."""
QUERIES, ITEMS, PRODUCTS = "x", "w", "y"
"""Names of the graph's tensors: the shifted codes of the queries, the codes of the items, and the products."""
MAX_ITEM_CODE = 127
"""Largest magnitude of an item's codes."""
MAX_QUERY_CODE = 63
"""Largest magnitude of a query's codes. With `QUERY_SHIFT` added they are from 1 to 127. Processors without instructions for
8-bit products add two products in 16 bits; 2 * 127 * 127 = 32,258 is below 2^15, so no such sum overflows."""
QUERY_SHIFT = MAX_QUERY_CODE + 1
"""Number added to the codes of queries, because the graph takes unsigned bytes. `Int8Matmul` corrects the products for it."""
ITEMS_PER_BLOCK = 64
"""Number of items whose codes are next to each other in memory. The codes of a block, 8 KB at width 128, fit in the fastest
cache, and the processor reads block after block in one direction (benchmarks/search.py)."""


class Int8Matmul:
    """Inner products of queries with all items. Safe to call from several threads."""

    def __init__(self, code_ID: Int8Array) -> None:
        """Arrange the codes of the items in blocks.

        Args:
            code_ID: Codes of the items, from -127 to 127.
        """
        self._items, width = code_ID.shape
        full, rest = divmod(self._items, ITEMS_PER_BLOCK)
        self._code_GDN = np.zeros((full + (rest > 0), width, ITEMS_PER_BLOCK), dtype=np.int8)
        whole_GND = code_ID[: self._items - rest].reshape(full, ITEMS_PER_BLOCK, width)
        self._code_GDN[:full] = whole_GND.transpose(0, 2, 1)
        if rest:
            self._code_GDN[full, :, :rest] = code_ID[self._items - rest :].T
        self._shift_GN: Int32Array = self._code_GDN.sum(axis=1, dtype=np.int32) * np.int32(QUERY_SHIFT)

    def __call__(self, code_BD: Int8Array) -> Int32Array:
        """Return the products [B, I] of queries, whose codes are from -63 to 63, with all items."""
        shifted_BD = np.add(code_BD, QUERY_SHIFT, dtype=np.int8).view(np.uint8)
        (product_GBN,) = _session().run([PRODUCTS], {QUERIES: shifted_BD, ITEMS: self._code_GDN})
        product_BGN = np.subtract(product_GBN.transpose(1, 0, 2), self._shift_GN, order="C")
        product_BI: Int32Array = product_BGN.reshape(len(code_BD), self._shift_GN.size)[:, : self._items]
        return product_BI


@cache
def _session() -> Any:
    """Return the session for items of every shape. A session with the items as constants was slower (docs/experiments.md)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: they are raised as well
    return onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])
