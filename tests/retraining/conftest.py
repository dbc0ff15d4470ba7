"""Datasets of a log that goes on, and a run on the first one."""

from pathlib import Path

import pytest
from growing_log import OPTIONS, SPEC, TRAINING, log

from reprise.data.dataset import SequenceDataset
from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.retraining import prepare_as_before
from reprise.training import Recipe, train


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder = tmp_path_factory.mktemp("before")
    return prepare(read_events(log(20, 12)), folder / "data", split="last:2d,2d", min_item_events=2)


@pytest.fixture(scope="session")
def earlier(before: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the first part."""
    run = tmp_path_factory.mktemp("earlier") / "run"
    train(Recipe(SPEC, TRAINING), before, run, options=OPTIONS)
    return run


@pytest.fixture(scope="session")
def now(before: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    """The longer log, with three new items."""
    return prepare_as_before(log(34, 15), tmp_path_factory.mktemp("now") / "data", before)
