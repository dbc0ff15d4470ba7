"""Comparisons of models: paired differences, seeds and corrected p-values."""
