"""Counts of the items, item pairs and sessions of an event log."""
