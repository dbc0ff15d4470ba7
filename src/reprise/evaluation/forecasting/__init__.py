"""Scores of forecasts of the kind and the time of the next event."""
