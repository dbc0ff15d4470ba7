"""A state machine test: after any sequence of operations each event is stored once and each state matches the log.

Run more steps with: REPRISE_STEPS=1000000 pytest tests/server/test_machine.py
"""

import os
import tempfile
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
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
STEPS_PER_RUN = 50
START_MS = 1_700_000_000_000
USERS = [User("shop", "anna"), User("shop", "bert"), User("rival", "anna")]
users = st.sampled_from(USERS)
processes = st.integers(0, 1)
items = st.sampled_from([f"p{item}" for item in range(0, 27, 3)])
minutes = st.integers(0, 40)


@dataclass
class ReferenceLog:
    """A simple model of the event log: the events of each user in order of arrival."""

    events: dict[User, list[UserEvent]] = field(default_factory=dict)

    def append(self, user: User, event: UserEvent) -> Status:
        known = {
            (owner.tenant, one.event_id): (owner, one) for owner, log in self.events.items() for one in log
        }
        if event.event_id and (user.tenant, event.event_id) in known:
            same = known[user.tenant, event.event_id] == (user, event)
            return Status.DUPLICATE if same else Status.CONFLICT
        self.events.setdefault(user, []).append(event)
        return Status.ACCEPTED

    def compact(self, before_ms: int) -> int:
        count = 0
        for user, log in list(self.events.items()):
            left = [event for event in log if event.time_ms is None or event.time_ms >= before_ms]
            count += len(log) - len(left)
            if left:
                self.events[user] = left
            else:
                del self.events[user]
        return count

    def history(self, user: User) -> list[UserEvent]:
        return by_time(self.events.get(user, []))


class TwoProcesses(RuleBasedStateMachine):
    """Two serving engines with one log, each of which serves one of two models."""

    models: tuple[Path, Path]
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "events.db"
        self.reference = ReferenceLog()
        self.sent: list[tuple[User, UserEvent]] = []
        self.served_models = [0, 0]
        self.turn = 0
        self.engines: list[ServingEngine] = []

    @initialize()
    def start(self) -> None:
        self.engines = [self.open_engine(process) for process in (0, 1)]

    def open_engine(self, process: int) -> ServingEngine:
        store = SQLiteStore(self.path)
        model = self.models[self.served_models[process]]
        # memory for two and a half states, so that some states are always dropped and rebuilt
        return ServingEngine(ServedModel.open(model, store, 5_000), store)

    @rule(
        process=processes,
        user=users,
        events=st.lists(st.tuples(items, minutes), min_size=1, max_size=4),
        with_ids=st.booleans(),
    )
    def append_events(self, process: int, user: User, events: list[tuple[str, int]], with_ids: bool) -> None:
        """Times are in any order, so many events are late."""
        new = [
            (
                user,
                UserEvent(
                    item,
                    START_MS + 60_000 * minute,
                    event_id=f"e{len(self.sent) + place}" if with_ids else None,
                ),
            )
            for place, (item, minute) in enumerate(events)
        ]
        self.sent += new
        expected = [self.reference.append(*event) for event in new]
        assert self.engines[process].store.append(new) == expected

    @rule(process=processes, data=st.data())
    def append_again(self, process: int, data: st.DataObject) -> None:
        """Some of the events have other items than the first time."""
        with_ids = [(user, event) for user, event in self.sent if event.event_id]
        if with_ids:
            user, event = data.draw(st.sampled_from(with_ids[-20:]))
            event = event._replace(item_id=data.draw(st.sampled_from([event.item_id, "p0"])))
            assert self.engines[process].store.append([(user, event)]) == [self.reference.append(user, event)]

    @rule(process=processes, user=users, exclude_seen=st.booleans())
    def recommend(self, process: int, user: User, exclude_seen: bool) -> None:
        engine = self.engines[process]
        rules = RankingRules(k=3, exclude_seen=exclude_seen)
        from_log = RecommendQuery(UserContext(*user), rules, START_MS * 2)
        context = UserContext(user.tenant, None, self.reference.history(user))
        assert engine.recommend(from_log) == engine.recommend(RecommendQuery(context, rules, START_MS * 2))

    @rule(user=users, process=processes)
    def erase(self, user: User, process: int) -> None:
        assert self.engines[process].erase_user(user).events == len(self.reference.events.pop(user, []))

    @rule(process=processes, minute=st.integers(0, 8))
    def compact(self, process: int, minute: int) -> None:
        before_ms = START_MS + 60_000 * minute
        store = self.engines[process].store
        assert isinstance(store, SQLiteStore)
        *_, done = store.compact(before_ms)
        assert done.events == self.reference.compact(before_ms)

    @rule(process=processes)
    def restart(self, process: int) -> None:
        self.engines[process].store.close()
        self.engines[process] = self.open_engine(process)

    @rule(process=processes)
    def swap_model(self, process: int) -> None:
        self.served_models[process] = 1 - self.served_models[process]
        self.engines[process].swap_model(self.models[self.served_models[process]])

    @rule(process=processes, item=items, available=st.booleans())
    def put_item(self, process: int, item: str, available: bool) -> None:
        self.engines[process].put_item("shop", item, {"available": available})

    @invariant()
    def logs_match_the_reference_and_states_match_the_log(self) -> None:
        TwoProcesses.steps += 1
        self.turn += 1
        for engine in self.engines:
            for user in USERS:
                events = engine.store.events_since(user).events
                assert [event._replace(seq=0) for event in events] == self.reference.events.get(user, [])
                assert all(one.seq < other.seq for one, other in pairwise(events))
        if self.engines:
            engine, user = self.engines[self.turn % 2], USERS[self.turn % 3]
            states = engine.model.states
            cached, replayed = states.current(user), states.builder.replay(self.reference.history(user))
            assert cached.event_count == replayed.event_count
            assert cached.skipped_count == replayed.skipped_count
            assert all(
                np.array_equal(cached.network_state[name], array, equal_nan=True)
                for name, array in replayed.network_state.items()
            )

    def teardown(self) -> None:
        for engine in self.engines:
            engine.store.close()
        self.directory.cleanup()


def test_two_processes_with_one_log(
    second_model: Path, third_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # load each model once: the test is about the states, and swaps models thousands of times
    monkeypatch.setattr(served_model, "_load_checked", cache(served_model._load_checked))
    TwoProcesses.models = second_model, third_model
    TwoProcesses.steps = 0
    run_state_machine_as_test(
        TwoProcesses,
        settings=settings(
            max_examples=max(1, STEPS * 6 // 5 // STEPS_PER_RUN),
            stateful_step_count=STEPS_PER_RUN,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert TwoProcesses.steps >= STEPS
