"""Recommendations on the device of a user: the export of a model, and a client that needs numpy and onnxruntime only."""
