"""Items that are added while a model is served: recommended immediately, in all processes, and after a restart."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from added_goods import COLUMNS, reading_columns

from reprise.errors import DataError
from reprise.recommender import Recommender
from reprise.server.engine import item_overrides, state_cache
from reprise.server.engine.item_overrides import ItemOverrides, ItemValueError
from reprise.server.engine.requests import RankingRules, RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.engine.state_builder import StateBuilder
from reprise.server.engine.state_cache import StateCache
from reprise.server.store.event_store import EventStore
from reprise.server.store.opening import open_store
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

START_MS = 1_700_000_000_000
RED = {"colour": "red", "weight": 3, "title": "Lamp"}
Open = Callable[[], ServingEngine]


@pytest.fixture(scope="module")
def shop(first_model: Path) -> Recommender:
    return reading_columns(Recommender.load(first_model))


@pytest.fixture(params=["sqlite", "postgres"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    in_file = request.param == "sqlite"
    address = f"sqlite:///{tmp_path}/both.db" if in_file else request.getfixturevalue("postgres_address")
    with closing(open_store(address)) as store:
        store.delete_user(User("shop", "anna"))
        for change in store.items_since(0):
            store.delete_item(change.tenant, change.item_id)
        yield store


def engine_of(shop: Recommender, store: EventStore) -> ServingEngine:
    items = ItemOverrides(shop)
    builder = StateBuilder(shop.ranker.network, shop.ranker.catalogue, shop.history_rules)
    model = ServedModel("m", Path("m"), StateCache(builder, store, 2**24, "m", items), items)
    return ServingEngine(model, store)


@pytest.fixture
def engine(shop: Recommender, tmp_path: Path) -> Iterator[ServingEngine]:
    with closing(SQLiteStore(tmp_path / "events.db")) as store:
        yield engine_of(shop, store)


def add_events(
    engine: ServingEngine, user: str, items: list[str], start: int = 0, tenant: str = "shop"
) -> None:
    engine.store.append(
        [
            (User(tenant, user), UserEvent(item, START_MS + 1000 * (start + place)))
            for place, item in enumerate(items)
        ]
    )


def answer(
    engine: ServingEngine, user: str, k: int = 40, tenant: str = "shop", **rules: Any
) -> RecommendResult:
    query = RecommendQuery(UserContext(tenant, user), RankingRules(k, **rules), now_ms=START_MS + 10_000_000)
    return engine.recommend(query)


def scores(result: RecommendResult) -> dict[object, float]:
    return {one.item_id: round(one.score, 4) for one in result.items}


def test_a_new_item_is_in_the_next_answer_and_moves_the_state(engine: ServingEngine) -> None:
    add_events(engine, "anna", ["p1", "lamp", "p2"])
    before = answer(engine, "anna")
    assert before.skipped_count == 1 and "lamp" not in scores(before)
    assert engine.put_item("shop", "lamp", RED) is True
    after = answer(engine, "anna")
    assert after.skipped_count == 0 and "lamp" in scores(after), "the skipped event counts now"
    assert {one.item_id: one.title for one in after.items}["lamp"] == "Lamp"
    assert [one.item_id for one in answer(engine, "anna", filter={"colour": "red"}).items] == ["lamp"]
    assert "lamp" not in scores(answer(engine, "anna", exclude_seen=True))
    add_events(engine, "anna", ["lamp"], start=9)
    assert scores(answer(engine, "anna")) != scores(after)
    assert [one.item_id for one in engine.search_items("shop", "LAMP", 5)[1]] == ["lamp"]
    assert engine.similar_items("shop", "lamp", 3)[1] and engine.similar_items("shop", "p1", 20)[1]
    add_events(engine, "anna", ["lamp"], tenant="rival")
    assert answer(engine, "anna", tenant="rival").skipped_count == 1, "items of other tenants stay unknown"


def test_added_items_are_the_same_in_other_processes_and_after_a_restart(
    shop: Recommender, each_store: EventStore
) -> None:
    first, second = engine_of(shop, each_store), engine_of(shop, each_store)
    add_events(first, "anna", ["p1", "bed", "p2", "lamp"])
    assert first.put_item("shop", "lamp", RED) and first.put_item("shop", "bed", {"colour": "blue"})
    second.refresh()
    assert scores(second_answer := answer(second, "anna")) == scores(answer(first, "anna"))
    assert second_answer.skipped_count == 0
    assert scores(answer(engine_of(shop, each_store), "anna")) == scores(second_answer)
    assert second.delete_item("shop", "bed") and not second.delete_item("shop", "bed")
    first.refresh()
    for engine in (first, second, engine_of(shop, each_store)):
        after = answer(engine, "anna")
        assert after.skipped_count == 1 and "bed" not in scores(after) and "lamp" in scores(after)
    assert engine_of(shop, each_store).put_item("shop", "bed", {"price": 3}) is False, (
        "no column that is read"
    )


def test_a_changed_item_of_the_model_without_training_events_gets_another_vector(
    engine: ServingEngine,
) -> None:
    add_events(engine, "anna", ["p1", "p19"])
    before = scores(answer(engine, "anna"))
    cold, warm = (str(engine.model.items.ranker("shop").catalogue.ids[place]) for place in (18, 3))
    engine.put_item("shop", warm, {"colour": "red"})
    assert scores(answer(engine, "anna")) == before
    engine.put_item("shop", cold, {"colour": "red"})
    assert scores(answer(engine, "anna"))[cold] != before[cold]
    assert engine.delete_item("shop", cold) and engine.delete_item("shop", warm)
    assert scores(answer(engine, "anna")) == before


@pytest.mark.parametrize("seed", range(4))
def test_cached_states_equal_replays_while_items_come_and_go(
    engine: ServingEngine, shop: Recommender, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    users, items = ["anna", "bert"], ["p1", "p18", "p19", "a", "b", "c", "d"]
    for step in range(30):
        user, item = str(generator.choice(users)), str(generator.choice(items))
        match int(generator.integers(5)):
            case 0 | 1:
                add_events(engine, user, [item], start=int(generator.integers(step + 1)))
            case 2:
                engine.put_item(
                    "shop", item, {"colour": str(generator.choice(["red", "blue"])), "weight": step}
                )
            case 3:
                engine.delete_item("shop", item)
            case _:
                rules = {"exclude_seen": bool(generator.random() < 0.5)}
                expected = answer(engine_of(shop, engine.store), user, **rules)
                found = answer(engine, user, **rules)
                assert scores(found) == pytest.approx(scores(expected), abs=1e-3)
                assert found.skipped_count == expected.skipped_count


def test_stored_states_are_not_used_if_an_item_was_added(
    engine: ServingEngine, shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_cache, "SAVED_EVENTS", 10)
    add_events(engine, "anna", [f"p{place % 15}" for place in range(20)])
    add_events(engine, "bert", ["lamp", *(f"p{place % 15}" for place in range(20))])
    add_events(engine, "carl", ["bed", *(f"p{place % 15}" for place in range(20))])
    engine.put_item("shop", "bed", RED)
    for user in ("anna", "bert", "carl"):
        answer(engine, user)
    engine.save_states()
    engine.put_item("shop", "lamp", RED)
    again = engine_of(shop, engine.store)
    results = [answer(again, user) for user in ("anna", "bert", "carl")]
    assert [one.skipped_count for one in results] == [0, 0, 0]
    assert again.model.states.loaded_states == 1, (
        "the state of bert skipped the lamp, and that of carl read the bed"
    )
    assert scores(results[1]) == scores(answer(engine, "bert"))


def test_limits_and_types_of_added_items(engine: ServingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ItemValueError, match=r"^column 'price' holds numbers, got 'cheap'"):
        engine.put_item("shop", "lamp", {"price": "cheap", "colour": "red"})
    monkeypatch.setattr(engine.model.items, "_max_added", 2)
    for item in ("a", "b", "a"):
        assert engine.put_item("shop", item, {"colour": "red"})
    with pytest.raises(
        DataError, match=r"^2 items were added to those of the model, and 2 are possible; delete"
    ):
        engine.put_item("shop", "c", {"colour": "red"})
    assert engine.put_item("rival", "c", {"colour": "red"}), "tenants have limits of their own"
    engine.delete_item("shop", "a")
    assert engine.put_item("shop", "c", {"colour": "red"})
    assert COLUMNS == ("colour", "weight") and item_overrides.MAX_ADDED_ITEMS > 2
    # a value that another process stored, and that does not fit
    engine.store.put_item("shop", "d", {"price": "cheap", "colour": "red"})
    engine.store.put_item("shop", "e", {"colour": "blue"})
    engine.refresh()
    assert engine.model.items.is_recommendable("shop", "d") and engine.model.items.is_recommendable(
        "shop", "e"
    )


def test_explanations_read_added_items(engine: ServingEngine) -> None:
    engine.put_item("shop", "lamp", RED)
    add_events(engine, "anna", ["p1", "lamp", "p2"])
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(3), START_MS + 10_000_000, explain=True)
    causes = engine.recommend(query).items[0].attributions
    assert causes is not None and {cause.item_id for cause in causes} == {"p1", "lamp", "p2"}
    assert {cause.title for cause in causes if cause.item_id == "lamp"} == {"Lamp"}
    _, path = engine.generate(UserContext("shop", "anna"), 21, {"seed": 1})
    assert len({one.item_id for one in path}) == 21
