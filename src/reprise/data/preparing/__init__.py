"""From an event log to a dataset on disk: clean, encode, sort, split and write it."""
