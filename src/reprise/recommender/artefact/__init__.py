"""The saved model: its files, its model card and the ONNX export."""
