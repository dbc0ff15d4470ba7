"""Counts of a log: items, pairs of items, and sessions."""
