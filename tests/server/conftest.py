"""Saved models, event logs and engines for the tests. An export takes seconds, so all tests share the models."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from app_client import app_client
from postgres_server import postgres_address, postgres_server
from rich_model import rich, visits_log
from starlette.testclient import TestClient

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.server.engine import state_builder, state_cache, user_state
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.worlds import world

STATE_BYTES = 2**20
__all__ = ["postgres_address", "postgres_server"]


def shelves(log: SequenceDataset) -> SequenceDataset:
    """Return the log with titles, prices and shelves as item columns."""
    ids = log.table.column("item_id").to_pylist()
    columns = {
        "title": [f"Product {one}" for one in ids],
        "price": [float(place) for place in range(len(ids))],
        "shelf": ["left" if place % 2 else "right" for place in range(len(ids))],
    }
    table = log.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return replace(log, table=table)


@pytest.fixture(scope="session")
def first_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with all inputs and parts: times, kinds, values, query time, attention and counts. Items p0 to p19."""
    path = tmp_path_factory.mktemp("first") / "shop.model"
    log = shelves(visits_log())
    Recommender(rich(log), log).save(path)
    return path


@pytest.fixture(scope="session")
def second_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads items only. Items p5 to p24."""
    path = tmp_path_factory.mktemp("second") / "shop.model"
    generator = np.random.default_rng(5)
    log = world([[f"p{item}" for item in generator.permutation(np.arange(5, 25))] for _ in range(20)])
    torch.manual_seed(5)
    network = Recurrent(size=8, layers=1, attention=0, cooccurrence=0, repeats=0).build(log.sizes)
    Recommender(network, log).save(path)
    return path


@pytest.fixture(scope="session")
def third_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads items and time gaps. Items p0, p3, ..., p33."""
    path = tmp_path_factory.mktemp("third") / "shop.model"
    generator = np.random.default_rng(7)
    log = world([[f"p{3 * item}" for item in generator.permutation(12)] for _ in range(20)])
    torch.manual_seed(7)
    model = Recurrent(size=8, layers=1, attention=0, cooccurrence=0, repeats=0, gaps=True).build(log.sizes)
    model.count(log)
    Recommender(model.eval(), log).save(path)
    return path


@pytest.fixture(scope="session")
def number_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with 30 items whose ids are integers."""
    path = tmp_path_factory.mktemp("numbers") / "shop.model"
    generator = np.random.default_rng(1)
    log = world([generator.permutation(30).tolist() for _ in range(20)])
    torch.manual_seed(1)
    network = Recurrent(size=8, layers=1, attention=0, cooccurrence=0, repeats=0).build(log.sizes)
    Recommender(network, log).save(path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "events.db")
    yield store
    store.close()


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take snapshots of short histories, and read and replay only a few events at a time."""
    monkeypatch.setattr(user_state, "SNAPSHOT_INTERVALS", (2, 5, 11, 30))
    monkeypatch.setattr(user_state, "MIN_SNAPSHOT_EVENTS", 3)
    monkeypatch.setattr(state_cache, "PAGE_EVENTS", 7)
    monkeypatch.setattr(state_builder, "PIECE_EVENTS", 3)


@pytest.fixture
def engine(first_model: Path, store: SQLiteStore) -> ServingEngine:
    return ServingEngine(ServedModel.open(first_model, store, STATE_BYTES), store)


@pytest.fixture
def client(engine: ServingEngine) -> Iterator[TestClient]:
    """A client of the whole application, with queues and worker threads."""
    yield from app_client(engine)
