"""Two saved models without torch's export cost in each test."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.testing.worlds import world


def saved(path: Path, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    log = world([[f"p{item}" for item in generator.permutation(12)] for _ in range(20)])
    torch.manual_seed(seed)
    network = Recurrent(size=8, layers=1, attention=0, cooccurrence=0, repeats=0).build(log.sizes)
    Recommender(network, log).save(path)
    return path


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("a") / "a.model", 1)


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("b") / "b.model", 2)
