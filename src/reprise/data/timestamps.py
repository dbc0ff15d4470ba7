"""Moments as text, for whoever shows one: no table engine is loaded for it."""

from datetime import UTC, datetime


def iso(time_ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601, to the second, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
