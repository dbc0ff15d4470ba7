"""Recommenders for tests. An export takes seconds, so the tests share them and must not change them."""

import numpy as np
import pytest
import torch
from counting_model import Counting, CountingModel
from rich_model import rich, visits_log

from reprise.data.dataset import SequenceDataset
from reprise.data.history_rules import HistoryRules
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.recommender import Recommender
from reprise.testing.worlds import world

RULES = HistoryRules(drop_duplicates=True, session_gap_ms=3_600_000, sequence_by="user")


@pytest.fixture(scope="session")
def log() -> SequenceDataset:
    """Twelve items p0 to p11 with vectors, and one item that only the test part has."""
    generator = np.random.default_rng(0)
    rows = [[f"p{item}" for item in generator.integers(12, size=10)] for _ in range(30)]
    rows[0][-1] = "new"
    titles = {f"p{item}": f"Product {item}" for item in range(11)}
    return world(rows, titles={**titles, "new": "Brand new"})


@pytest.fixture(scope="session")
def model(log: SequenceDataset) -> SequenceModel:
    torch.manual_seed(0)
    return Recurrent(size=16, temperature=0, attention=0, cooccurrence=0, repeats=0).build(log.sizes)


@pytest.fixture(scope="session")
def shop(model: SequenceModel, log: SequenceDataset) -> Recommender:
    return Recommender(model, log, training={"epochs": 3})


@pytest.fixture(scope="session")
def numbers() -> SequenceDataset:
    """Thirty items whose ids are integers, without titles."""
    generator = np.random.default_rng(1)
    return world([generator.permutation(30).tolist() for _ in range(20)])


@pytest.fixture(scope="session")
def counting_model(numbers: SequenceDataset) -> CountingModel:
    torch.manual_seed(1)
    return Counting().build(numbers.sizes)


@pytest.fixture(scope="session")
def counting_shop(counting_model: CountingModel, numbers: SequenceDataset) -> Recommender:
    """A recommender whose input vectors and output vectors are not tied."""
    return Recommender(counting_model, numbers)


@pytest.fixture(scope="session")
def visits() -> SequenceDataset:
    """Twenty items p0 to p19, with kinds and values of events."""
    return visits_log()


@pytest.fixture(scope="session")
def rich_model(visits: SequenceDataset) -> SequenceModel:
    return rich(visits)


@pytest.fixture(scope="session")
def rich_shop(rich_model: SequenceModel, visits: SequenceDataset) -> Recommender:
    """A recommender that reads times, kinds and values, with attention and co-occurrence logits."""
    return Recommender(rich_model, visits)


@pytest.fixture(scope="session")
def ruled_shop(rich_shop: Recommender) -> Recommender:
    """The recommender that reads everything, with the rules of a log without duplicates, divided at pauses over an hour."""
    data = {**rich_shop.artefact.metadata["data"], "history": RULES.to_dict()}
    return Recommender.of(rich_shop.artefact.with_metadata(data=data))
