"""Whatever happens, in whatever order: the log has each event once, and every process knows each user as the log does.

More steps on demand: REPRISE_STEPS=1000000 pytest tests/server/test_machine.py
"""

import os
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from reprise.server.engine import served_model
from reprise.server.engine.event_encoding import by_time
from reprise.server.engine.requests import RankingRules, RecommendQuery, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.store.records import Status, User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

STEPS = int(os.environ.get("REPRISE_STEPS", "10000"))
STEPS_OF_ONE = 50
START_MS = 1_700_000_000_000
USERS = [User("shop", "anna"), User("shop", "bert"), User("rival", "anna")]
users = st.sampled_from(USERS)
processes = st.integers(0, 1)
items = st.sampled_from([f"p{item}" for item in range(0, 27, 3)])
minutes = st.integers(0, 40)


@dataclass
class Reference:
    """What a log is: the events of each user in the order of their arrival, and the ids of all."""

    events: dict[User, list[UserEvent]] = field(default_factory=dict)

    def append(self, user: User, event: UserEvent) -> Status:
        known = {(owner.tenant, stored.event_id) for owner, log in self.events.items() for stored in log}
        if event.event_id and (user.tenant, event.event_id) in known:
            return Status.DUPLICATE
        self.events.setdefault(user, []).append(event)
        return Status.ACCEPTED

    def history(self, user: User) -> list[UserEvent]:
        return by_time(self.events.get(user, []))


class Processes(RuleBasedStateMachine):
    """Two processes over one log, each with one of two models."""

    models: tuple[Path, Path]
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "events.db"
        self.reference = Reference()
        self.sent: list[tuple[User, UserEvent]] = []
        self.serves = [0, 0]
        self.turn = 0
        self.lives: list[ServingEngine] = []

    @initialize()
    def start(self) -> None:
        self.lives = [self.opened(process) for process in (0, 1)]

    def opened(self, process: int) -> ServingEngine:
        store = SQLiteStore(self.path)
        # room for two states and a half: some are always folded anew
        return ServingEngine(ServedModel.open(self.models[self.serves[process]], store, 5_000), store)

    @rule(
        process=processes,
        user=users,
        told=st.lists(st.tuples(items, minutes), min_size=1, max_size=4),
        named=st.booleans(),
    )
    def events(self, process: int, user: User, told: list[tuple[str, int]], named: bool) -> None:
        """In any order: an event of an earlier minute is late."""
        new = [
            (
                user,
                UserEvent(
                    item,
                    START_MS + 60_000 * minute,
                    event_id=f"e{len(self.sent) + place}" if named else None,
                ),
            )
            for place, (item, minute) in enumerate(told)
        ]
        self.sent += new
        assert self.lives[process].store.append(new) == [self.reference.append(*event) for event in new]

    @rule(process=processes, data=st.data())
    def again(self, process: int, data: st.DataObject) -> None:
        """What was sent before, perhaps by another user of the tenant."""
        named = [(user, event) for user, event in self.sent if event.event_id]
        if named:
            event = data.draw(st.sampled_from(named[-20:]))
            assert self.lives[process].store.append([event]) == [self.reference.append(*event)]

    @rule(process=processes, user=users, seen=st.booleans())
    def ask(self, process: int, user: User, seen: bool) -> None:
        live = self.lives[process]
        rules = RankingRules(k=3, exclude_seen=seen)
        answer = live.recommend(RecommendQuery(UserContext(*user), rules, START_MS * 2))
        told = live.recommend(
            RecommendQuery(UserContext(user.tenant, None, self.reference.history(user)), rules, START_MS * 2)
        )
        assert answer == told

    @rule(user=users, process=processes)
    def forget(self, user: User, process: int) -> None:
        assert self.lives[process].forget(user).events == len(self.reference.events.pop(user, []))

    @rule(process=processes)
    def restart(self, process: int) -> None:
        self.lives[process].store.close()
        self.lives[process] = self.opened(process)

    @rule(process=processes)
    def swap(self, process: int) -> None:
        self.serves[process] = 1 - self.serves[process]
        self.lives[process].swap(self.models[self.serves[process]])

    @rule(process=processes, item=items, available=st.booleans())
    def say(self, process: int, item: str, available: bool) -> None:
        self.lives[process].put_item("shop", item, {"available": available})

    @invariant()
    def every_process_knows_every_user_as_the_log_does(self) -> None:
        Processes.steps += 1
        self.turn += 1
        for live in self.lives:
            for user in USERS:
                assert [event.seq for event in live.store.since(user).events] == list(
                    range(1, len(self.reference.events.get(user, [])) + 1)
                )
        if self.lives:
            live, user = self.lives[self.turn % 2], USERS[self.turn % 3]
            known = live.served.states.current(user)
            fold = live.served.states.folder.fold(self.reference.history(user))
            assert (known.events, known.skipped) == (fold.events, fold.skipped)
            assert all(
                np.array_equal(known.state[name], fold.state[name], equal_nan=True) for name in fold.state
            )

    def teardown(self) -> None:
        for live in self.lives:
            live.store.close()
        self.folder.cleanup()


def test_two_processes_over_one_log(
    second_model: Path, third_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the files are read once: it is the states that are looked at here, thousands of times
    monkeypatch.setattr(served_model, "_checked", cache(served_model._checked))
    Processes.models = second_model, third_model
    Processes.steps = 0
    run_state_machine_as_test(
        Processes,
        settings=settings(
            max_examples=max(1, STEPS * 6 // 5 // STEPS_OF_ONE),
            stateful_step_count=STEPS_OF_ONE,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Processes.steps >= STEPS
