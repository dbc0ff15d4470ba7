"""State on the device: a folder with graphs and vectors, and a client in one file that needs numpy and onnxruntime only."""
