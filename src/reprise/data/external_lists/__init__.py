"""Ranked lists that were made by other software, read from tables and TREC run files."""
