"""The ONNX graph of the int8 product that `reprise.recommender.search.int8_matmul` runs. Made at export time only."""

from onnx import TensorProto, helper

from reprise.recommender.search.int8_matmul import ITEMS, PRODUCTS, QUERIES, QUERY_SHIFT

IR_VERSION, OPSET = 8, 13
"""Versions of the ONNX format: the oldest that every supported onnxruntime reads."""


def int8_matmul_graph(items: int, width: int) -> bytes:
    """Return the graph of y_BI = (x_BD - QUERY_SHIFT) w_DI for items of this shape, as ONNX.

    The codes of the items are not in the graph: w_DI is declared as external data, which onnxruntime takes from memory. They
    are computed from the vectors when a model is loaded, which takes less time than reading them, and cannot contradict them.
    """
    codes = TensorProto(name=ITEMS, data_type=TensorProto.INT8, dims=(width, items))
    codes.data_location = TensorProto.EXTERNAL
    codes.external_data.add(key="location", value="memory")
    graph = helper.make_graph(
        nodes=[helper.make_node("MatMulInteger", [QUERIES, ITEMS, "shift"], [PRODUCTS])],
        name="int8_matmul",
        inputs=[helper.make_tensor_value_info(QUERIES, TensorProto.UINT8, ["queries", width])],
        outputs=[helper.make_tensor_value_info(PRODUCTS, TensorProto.INT32, ["queries", items])],
        initializer=[codes, helper.make_tensor("shift", TensorProto.UINT8, (), [QUERY_SHIFT])],
    )
    opset = helper.make_operatorsetid("", OPSET)
    model: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()
    return model
