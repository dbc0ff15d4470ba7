"""A small dataset on disk, for worker processes."""

import numpy as np
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.data.split import LeaveOneOut


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder = tmp_path_factory.mktemp("shop")
    rows = ["user_id,item_id,timestamp"]
    generator = np.random.default_rng(0)
    for user in range(60):
        for step in range(20):
            rows.append(f"u{user},i{generator.integers(20)},{1_700_000_000 + step * 60}")
    (folder / "log.csv").write_text("\n".join(rows))
    return prepare(read_events(folder / "log.csv"), folder / "data", split=LeaveOneOut())
