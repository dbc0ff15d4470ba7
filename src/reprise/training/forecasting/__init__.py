"""Fitting of the forecast heads of a trained network."""
