"""Parquet files: checks of their schemas, and queries over their rows."""
