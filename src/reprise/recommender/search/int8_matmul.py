"""Products of small integers: exact, and several times as fast as those of floats. Run by ONNX Runtime.

Shape letters: B queries, I items, D width.
"""

from typing import Any

import numpy as np
import onnxruntime

from reprise.arrays import Int8Array, Int32Array

LARGEST = 127
"""Of an item's integers."""
LARGEST_ASKED = 63
"""Of a query's integers. Shifted they are at most 127: processors without instructions for bytes add two products in 16
bits, and 2 * 127 * 127 is below 2^15, so that no sum is cut off on any of them."""
SHIFT = LARGEST_ASKED + 1
BYTES = 2**31 - 2**20
"""What one graph may hold."""


# the few numbers of the ONNX format (onnx.proto) that one product needs; the package `onnx` would take longer to
# import than everything else that answers
_UINT8, _INT8, _INT32 = 2, 3, 6
_IR_VERSION, _OPSET = 8, 13


class Int8Matmul:
    """Inner products of queries with the items. Safe to call from several threads."""

    def __init__(self, code_ID: Int8Array) -> None:
        """Pack the items, numbers from -127 to 127; at most `BYTES` of them."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: they are raised as well
        self._session: Any = onnxruntime.InferenceSession(
            product_graph(code_ID), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, code_BD: Int8Array) -> Int32Array:
        """The products of queries, numbers from -63 to 63, with all items, [B, I]."""
        shifted_BD = np.add(code_BD, SHIFT, dtype=np.int8).view(np.uint8)
        product_BI: Int32Array = self._session.run(["y"], {"x": shifted_BD})[0]
        return product_BI


def product_graph(code_ID: Int8Array) -> bytes:
    """The ONNX model y_BI = (x_BD - SHIFT) w_DI, with the items as its w."""
    items, width = code_ID.shape
    node = b"".join(_field(1, name) for name in (b"x", b"w", b"shift"))
    node += _field(2, b"y") + _field(4, b"MatMulInteger")
    graph = _field(1, node) + _field(2, b"product")
    graph += _field(5, _tensor(b"w", _INT8, (width, items), np.ascontiguousarray(code_ID.T).tobytes()))
    graph += _field(5, _tensor(b"shift", _UINT8, (), bytes([SHIFT])))
    graph += _field(11, _value(b"x", _UINT8, width)) + _field(12, _value(b"y", _INT32, items))
    return _field(1, _IR_VERSION) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, _OPSET))


def _field(number: int, content: int | bytes) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _tensor(name: bytes, kind: int, shape: tuple[int, ...], raw: bytes) -> bytes:
    return b"".join(_field(1, size) for size in shape) + _field(2, kind) + _field(8, name) + _field(9, raw)


def _value(name: bytes, kind: int, columns: int) -> bytes:
    shape = _field(1, _field(2, b"rows")) + _field(1, _field(1, columns))
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, shape)))
