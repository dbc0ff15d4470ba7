"""Event logs as Spark data frames: reading of files, queries on the workers, and their errors."""
