"""Evaluation scores what would be answered: the rank of a target is its place in the recommendations for what came before.

The log has users who know only new items, repeated rows, pauses, rare items, and rows in any order.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from rich_model import KINDS, START_S, rich

from reprise.data.dataset import SequenceDataset
from reprise.data.preparing.prepare import prepare
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import TargetRanks, rank_targets
from reprise.evaluation.ranking.tiles import MISS
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender

DAY_S, HOUR_S = 86_400, 3_600
Event = dict[str, Any]


class Case(NamedTuple):
    """A prepared log, a recommender, and the raw events of each user in the order of time."""

    dataset: SequenceDataset
    model: NetworkScorer
    shop: Recommender
    events: dict[str, list[Event]]


def random_events() -> dict[str, list[Event]]:
    """Return the events of seventy users: forty-five of the first ten days, and others of the last two."""
    generator = np.random.default_rng(0)
    events: dict[str, list[Event]] = {}
    for user in range(70):
        late = user >= 45
        new_only = user >= 60
        second = 12.0 * DAY_S if late else float(generator.integers(10 * DAY_S))
        own: list[Event] = []
        for _ in range(int(generator.integers(3, 14))):
            second += float(generator.choice([0, 0, 0.25, 60, HOUR_S, HOUR_S + 0.001, 5 * HOUR_S]))
            item = int(generator.choice(20, p=np.arange(20, 0, -1) / 210))
            if (late and generator.random() < 0.3) or (new_only and len(own) < 3):
                item = 50 + item % 4
            if generator.random() < 0.05:
                item = 100 + user  # too rare to be kept
            own.append(
                {
                    "item_id": f"p{item}",
                    "timestamp": START_S + second,
                    "kind": [*KINDS, None][generator.integers(4)],
                    "value": None if generator.random() < 0.3 else float(generator.integers(1, 50)),
                }
            )
            if generator.random() < 0.25:
                own.append(dict(own[generator.integers(len(own))]))
        events[f"u{user}"] = sorted(own, key=lambda event: event["timestamp"])
    return events


def case(folder: Path, spec: Any = None, **options: Any) -> Case:
    events = random_events()
    rows = [{"user_id": user, **event} for user, own in events.items() for event in own]
    # a permutation that keeps the order of rows with equal times
    order = np.argsort([row["timestamp"] for row in rows], kind="stable")
    table = pa.Table.from_pylist([rows[place] for place in order.tolist()])
    dataset = prepare(
        table,
        folder / "data",
        split="last:2d,2d",
        allow_leaks=["duplicate", "own-input"],
        min_sequence_events=1,
        **options,
    )
    model = rich(dataset) if spec is None else spec.build(dataset.sizes).eval()
    return Case(dataset, model, Recommender(model, dataset), events)


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Without duplicates, divided at pauses over an hour, without rare items, with a network that reads everything."""
    return case(tmp_path_factory.mktemp("cleaned"), session_gap="1h", min_item_events=3)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """With duplicates, not divided, and with an ensemble that reads items only."""
    member = Recurrent(size=8, layers=1, attention=0, cooccurrence=0, repeats=0, temperature=0)
    spec = Ensemble(member=member, members=2)
    return case(tmp_path_factory.mktemp("kept"), spec, duplicates="keep")


def raw_positions(found: Case) -> list[tuple[str, int]]:
    """Return for each event of the dataset its user and its position among the raw events of that user."""
    places: dict[tuple, list[int]] = defaultdict(list)
    for user, own in found.events.items():
        for place, event in enumerate(own):
            key = user, event["item_id"], round(event["timestamp"] * 1000), event["kind"] or "event"
            places[key].append(place)
    user_E = np.repeat(found.dataset.users, np.diff(found.dataset.offset)).tolist()
    items = found.dataset.items.item_ids(found.dataset.item)
    keys = zip(user_E, items, found.dataset.time_ms.tolist(), found.dataset.kind.tolist(), strict=True)
    positions = []
    for user, item, time_ms, kind in keys:
        owner = user.split("/")[0]
        positions.append((owner, places[owner, item, time_ms, found.dataset.kinds[kind]].pop(0)))
    return positions


def answers(found: Case, ranks: TargetRanks, *, exclude_seen: bool, timed: bool) -> list[list[Any]]:
    """Return the items recommended for what came before each target, all of them."""
    positions = raw_positions(found)
    lists = []
    for position in ranks.position_N.tolist():
        user, place = positions[position]
        now = found.dataset.time_ms[position] / 1000 if timed else None
        history = found.events[user][:place]
        k = found.shop.items.warm
        lists.append(found.shop.recommend(history, k, exclude_seen=exclude_seen, now=now).item_ids)
    return lists


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("name", ["cleaned", "kept"])
def test_the_rank_of_a_target_is_its_place_in_the_recommendations(
    request: pytest.FixtureRequest, name: str, part: Any, exclude_seen: bool, timed: bool
) -> None:
    found: Case = request.getfixturevalue(name)
    protocol = EvaluationProtocol(part, exclude_seen=exclude_seen, query_time=timed)
    ranks = rank_targets(found.model, found.dataset, protocol, QUICK)
    assert len(ranks.position_N) > 20
    items = found.dataset.items.item_ids(found.dataset.item[ranks.position_N])
    lists = answers(found, ranks, exclude_seen=exclude_seen, timed=timed)
    for greater, equal, item, answer in zip(ranks.greater_N, ranks.equal_N, items, lists, strict=True):
        if greater == MISS:
            assert item not in answer
        else:
            assert greater <= answer.index(item) <= greater + equal


def test_the_log_has_users_who_know_only_new_items(cleaned: Case, kept: Case) -> None:
    for found in (cleaned, kept):
        ranks = rank_targets(found.model, found.dataset, EvaluationProtocol(), QUICK)
        lists = answers(found, ranks, exclude_seen=False, timed=False)
        popular = found.shop.recommend([], found.shop.items.warm).item_ids
        assert sum(answer == popular for answer in lists) > 10
        assert sum(answer != popular for answer in lists) > 10
