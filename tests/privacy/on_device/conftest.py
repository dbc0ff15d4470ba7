"""A model with counts, without them, and as a folder for devices. An export takes seconds, so the tests share them."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich_model import rich, visits_log

from reprise.data.history_rules import HistoryRules
from reprise.privacy import export_device
from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import TRANSITIONS


@pytest.fixture(scope="session")
def counted() -> Recommender:
    """A recommender that reads times, kinds and values, with counts, a repeat head and rules of a log."""
    log = visits_log()
    artefact = Recommender(rich(log, attention=0), log).artefact
    rules = HistoryRules(drop_duplicates=True, session_gap_ms=3_600_000, sequence_by="user")
    data = {**artefact.metadata["data"], "history": rules.to_dict()}
    return Recommender.of(artefact.with_metadata(data=data))


@pytest.fixture(scope="session")
def uncounted(counted: Recommender) -> Recommender:
    """The same recommender without the co-occurrence counts, which no folder for devices has."""
    artefact = counted.artefact
    kept = {name: array for name, array in artefact.tensors.items() if not name.startswith(TRANSITIONS)}
    return Recommender.of(replace(artefact, tensors=kept))


@pytest.fixture(scope="session")
def folder(counted: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with output vectors."""
    path = tmp_path_factory.mktemp("device") / "shop"
    export_device(counted, path)
    return path
