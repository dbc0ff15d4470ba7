"""A small run that has learned its users by heart, and users of the same kind that it has not seen."""

from dataclasses import replace
from pathlib import Path

import pytest
from audited_log import SMALL, USERS, Audited, habits, write_log

from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.data.split import LeaveOneOut
from reprise.testing.worlds import world
from reprise.training.start_run import train


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    members, others = (world(habits(USERS, seed)) for seed in (1, 2))
    others = replace(others, users=others.users + USERS)
    model = train(SMALL, members, tmp_path_factory.mktemp("audit") / "run", progress=False)
    return Audited(model, members, others)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that was trained on a prepared log; `others.csv` lies next to it."""
    folder = tmp_path_factory.mktemp("audited")
    log = read_events(write_log(folder / "members.csv", USERS, seed=1))
    train(SMALL, prepare(log, folder / "data", split=LeaveOneOut()), folder / "run", progress=False)
    write_log(folder / "others.csv", 240, seed=2, first=USERS - 10)
    return folder / "run"
