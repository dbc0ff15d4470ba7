"""The command `reprise drift`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from reprise.data import SequenceDataset
from reprise.server import SQLiteStore, User, UserEvent

Run = Callable[..., Result]
Fails = Callable[..., str]
START_MS = 1_760_000_000_000


@pytest.fixture
def address(tmp_path: Path) -> str:
    store = SQLiteStore(tmp_path / "events.db")
    events = [
        (User("default", f"u{n}"), UserEvent("0" if n % 2 else "NEW", START_MS + 1_000)) for n in range(200)
    ]
    store.append([*events, (User("default", "u0"), UserEvent("1", START_MS - 1_000))])
    store.close()
    return f"sqlite:///{tmp_path / 'events.db'}"


def test_drift_is_shown_and_written(reprise: Run, shop: Path, address: str, tmp_path: Path) -> None:
    """All known current events are of one item out of 40."""
    files = [tmp_path / name for name in ("page.html", "drift.json", "drift.prom")]
    options = [
        word for pair in zip(("--html", "--json", "--prometheus"), files, strict=True) for word in pair
    ]
    shown = reprise("drift", shop / "data", "--store", address, "--since", "2025-10-09T08:53:20", *options)
    assert shown.exit_code == 0, shown.output
    page, found, metrics = files[0].read_text(), json.loads(files[1].read_text()), files[2].read_text()
    assert "Largest changes of items" in page and "NEW" in page and "NEW" in shown.output
    assert found["items"]["level"] == "large" and found["kinds"]["level"] == "none"
    assert (found["items"]["new"], found["items"]["current"]) == (0.5, 200)
    dataset = SequenceDataset.open(shop / "data")
    assert found["items"]["reference"] == dataset.part_events("train")
    assert "scores" not in found and 'reprise_drift_new_share{distribution="items"} 0.5' in metrics


def test_a_period_without_events_is_explained(fails: Fails, shop: Path, address: str) -> None:
    message = fails("drift", shop / "data", "--store", address, "--since", "2100-01-01")
    assert "current distribution of items has no events" in message
