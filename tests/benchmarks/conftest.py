from pathlib import Path

import numpy as np
import pytest

from reprise.data.preparing.prepare import prepare


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Thirty people of different activity; some items come only in the last week, so they are cold."""
    generator = np.random.default_rng(3)
    rows = ["user_id,item_id,timestamp"]
    for user in range(30):
        for event in range(int(generator.integers(1, 14))):
            late = 15 if event > 8 else 0
            rows.append(f"u{user},p{late + generator.integers(20)},{1_700_000_000 + 90_000 * event + user}")
    log = tmp_path / "log.csv"
    log.write_text("\n".join(rows) + "\n")
    prepare(log, tmp_path / "data", split="last:3d,3d", progress=False)
    return tmp_path / "data"
