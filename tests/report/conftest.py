"""A comparison of two networks, one of them with two seeds, and a baseline without probabilities."""

import copy
from typing import Any

import pytest

from reprise.report.comparison_file import ComparisonRecord


def interval(value: float, room: float | None = 0.02) -> dict[str, float | None]:
    if room is None:
        return {"value": value, "low": None, "high": None}
    return {"value": value, "low": round(value - room, 6), "high": round(value + room, 6)}


def metrics(value: float) -> dict[str, Any]:
    ranked = {
        f"{name}@{k}": interval(value * k / 10) for k in (5, 10) for name in ("recall", "hit", "mrr", "ndcg")
    }
    return {**ranked, "coverage@5": interval(0.5, None), "coverage@10": interval(0.75, None)}


def report(name: str, value: float, calibration: dict[str, Any] | None = None) -> dict[str, Any]:
    slices = {
        "warm": {"of": "item", "targets": 90, "metrics": metrics(value)},
        "cold": {"of": "item", "targets": 10, "metrics": metrics(0.0)},
    }
    return {
        "name": name,
        "metrics": metrics(value),
        "targets": 100,
        "slices": slices,
        "calibration": calibration,
        "protocol": PROTOCOL,
    }


PROTOCOL: dict[str, Any] = {
    "dataset": "f00d", "part": "test", "targets": 100, "sequences": 40, "candidates": 30, "at": [5, 10],
    "min_history": 1, "exclude_seen": False, "query_time": True, "ties": "average",
    "interval": {"resamples": 1000, "level": 0.95, "seed": 0, "method": "percentile bootstrap over sequences"},
    "cold": "miss", "notes": [],
}  # fmt: skip
CALIBRATION = {
    "ece": 0.031,
    "log_loss": 2.5,
    "bins": [
        {"confidence": 0.1, "accuracy": 0.12, "targets": 50},
        {"confidence": 0.4, "accuracy": 0.33, "targets": 50},
    ],
}


def entrant(
    name: str, value: float, seeds: tuple[int, ...] = (), baseline: str | None = None
) -> dict[str, Any]:
    calibration = None if baseline else CALIBRATION
    curve = [
        [
            {"epoch": epoch, "seconds": 10.0 * epoch, "loss": 4.0 / epoch, "value": value - 0.1 / epoch}
            for epoch in (1, 2, 3)
        ]
        for _ in seeds
    ]
    recipe = {"class": "reprise:Recipe", "training": {"metric": "ndcg@10", "epochs": 3}}
    return {
        "name": name,
        "runs": [f"runs/{name.replace(' ', '-')}-{seed}" for seed in seeds],
        "seeds": list(seeds),
        "baseline": baseline,
        "recipe": None if baseline else recipe,
        "training": {
            "seconds": 0.0 if baseline else 30.0, "metric": None if baseline else "ndcg@10", "curve": curve,
        },
        "evaluated_s": [1.0] * max(1, len(seeds)),
        "reports": [report(name, value, calibration) for _ in seeds or (0,)],
        "pooled": report(name, value, calibration),
    }  # fmt: skip


def verdict(first: str, second: str, better: str | None) -> dict[str, Any]:
    return {
        "first": first, "second": second, "metric": "ndcg@10", "difference": interval(0.05), "p": 0.001,
        "p_adjusted": 0.002, "seeds": [2, 1], "better": better,
        "sentence": f"{better} is better." if better else f"No difference is shown between {first} and {second}.",
    }  # fmt: skip


def item(number: int) -> dict[str, Any]:
    return {"id": number, "title": f"Mug {number}"}


COMPARISON: dict[str, Any] = {
    "format": 1,
    "reprise": "0.1.0",
    "versions": {"python": "3.11.1", "torch": "2.9"},
    "made": "2026-11-26T12:00:00+00:00",
    "command": "reprise evaluate runs/a",
    "dataset": {
        "path": "data/shop", "fingerprint": "f00d", "sequences": 60, "events": 900, "items": 30, "cold": 2,
        "first": "2026-01-01T00:00:00+00:00", "last": "2026-03-01T00:00:00+00:00",
        "split": {"kind": "time", "train_end_ms": 1_700_000_000_000, "valid_end_ms": 1_700_600_000_000},
    },
    "metric": "ndcg@10",
    "protocol": PROTOCOL,
    "options": {"ties": "average", "resamples": 1000},
    "words": ["test part of dataset f00d: 100 targets in 40 sequences."],
    "entrants": [
        entrant("Popularity", 0.1, baseline="popularity"),
        entrant("gru 1 x 8", 0.3, (1, 2)),
        entrant("lstm 1 x 8", 0.28, (1,)),
    ],
    "verdicts": [
        verdict("Popularity", "gru 1 x 8", "gru 1 x 8"),
        verdict("Popularity", "lstm 1 x 8", "lstm 1 x 8"),
        verdict("gru 1 x 8", "lstm 1 x 8", None),
    ],
    "examples": [
        {
            "sequence": "u7", "earlier": 4, "history": [item(1), item(2)], "next": [item(3), item(4)],
            "lists": [
                {"entrant": name, "items": [item(4), item(3), item(9)], "rank": rank}
                for name, rank in (("Popularity", None), ("gru 1 x 8", 2), ("lstm 1 x 8", 1200))
            ],
        }
    ],
    "search": None,
}  # fmt: skip


@pytest.fixture
def comparison() -> ComparisonRecord:
    """Return a comparison that a test may change."""
    copied: ComparisonRecord = copy.deepcopy(COMPARISON)  # type: ignore[assignment]
    return copied
