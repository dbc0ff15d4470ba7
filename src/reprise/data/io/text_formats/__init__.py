"""Formats of text files: delimited text and JSON lines, read in blocks of whole rows."""
