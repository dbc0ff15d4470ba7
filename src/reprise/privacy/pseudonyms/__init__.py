"""Pseudonyms in place of the ids of a log: keyed hashes, with a key in a file."""
