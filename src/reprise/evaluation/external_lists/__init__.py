"""Evaluation of ranked lists that were made by other software."""
