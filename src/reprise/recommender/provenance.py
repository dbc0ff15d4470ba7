"""Where a model comes from: the facts about its data that travel with it. No event and no user key does."""

from datetime import UTC, datetime
from typing import Any

from reprise.data.dataset import PARTS, SequenceDataset


def describe_data(dataset: SequenceDataset) -> dict[str, Any]:
    """Counts, dates and the split of a dataset, as JSON has them."""
    facts: dict[str, Any] = {
        "fingerprint": dataset.fingerprint,
        "sequences": len(dataset),
        "events": dataset.events,
        "items": len(dataset.items),
        "warm": dataset.items.warm,
        "kinds": list(dataset.kinds),
        "parts": {part: dataset.part_events(part) for part in PARTS},
        "split": dataset.split,
    }
    if dataset.events:
        facts |= {
            "first": _iso(int(dataset.time_ms.min())),
            "last": _iso(int(dataset.time_ms.max())),
        }
    return facts


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
