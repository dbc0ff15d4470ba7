"""Commands that connect a model with other software."""
