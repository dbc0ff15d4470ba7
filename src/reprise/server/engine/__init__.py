"""The serving engine: one event log, one model, cached user states."""
