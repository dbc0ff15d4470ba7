"""Where a model comes from: the facts about its data that travel with it. No event and no user key does."""

from typing import Any

from reprise.data.dataset import PARTS, SequenceDataset
from reprise.data.timestamps import format_iso


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
            "first": format_iso(int(dataset.time_ms.min())),
            "last": format_iso(int(dataset.time_ms.max())),
        }
    return facts
