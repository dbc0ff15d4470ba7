"""The exported network, run by ONNX Runtime without torch."""
