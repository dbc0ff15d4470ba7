"""The serving engine recommends the same items from an event log as the recommender does from a history."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.data.popular_items import ContextTable
from reprise.errors import ArtefactError, DataError
from reprise.recommender import Recommender, SigningKey, make_key_pair
from reprise.recommender.artefact.artefact import MANIFEST
from reprise.recommender.ranker import NOT_FINITE
from reprise.server.engine.batch_inference import EXPLAINED_EVENTS, recommend_batch
from reprise.server.engine.requests import RankingRules, RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine, UnknownItemError
from reprise.server.engine.state_cache import LongHistoryError, StateCache
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

START_MS = 1_700_000_000_000
NOW_MS = START_MS + 10_000_000
ANNA = User("shop", "anna")
HISTORY = [
    UserEvent("p3", START_MS, "view", 2.0), UserEvent("p7", START_MS + 5_000, "cart"),
    UserEvent("unknown item", START_MS + 6_000), UserEvent("p3", START_MS + 6_000, "buy", -1.5),
]  # fmt: skip


def append(engine: ServingEngine, events: list[UserEvent], user: User = ANNA) -> None:
    engine.store.append([(user, event) for event in events])


def as_history(events: list[UserEvent]) -> list[dict[str, Any]]:
    """Return events in the form that `Recommender` takes."""
    return [
        {
            "item_id": event.item_id,
            "timestamp": None if event.time_ms is None else event.time_ms / 1000,
            "kind": event.kind,
            "value": event.value,
        }
        for event in events
    ]


def ids_and_scores(items: Any) -> list[tuple[Any, float]]:
    return [(item.item_id, item.score) for item in items]


RULES = [
    RankingRules(k=5),
    RankingRules(k=20),
    RankingRules(k=500),
    RankingRules(k=4, deny=["p1", "p2", "unknown item"]),
    RankingRules(k=4, allow=["p1", "p2", "p9", "unknown item"]),
    RankingRules(k=6, exclude_seen=True),
    RankingRules(k=6, filter={"price": {"max": 9}, "shelf": "left"}),
    RankingRules(k=6, diversity=0.6),
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_results_equal_those_of_the_recommender(
    rules: RankingRules, engine: ServingEngine, first_model: Path
) -> None:
    """The events are all in the log, all in the request, or half in each."""
    append(engine, HISTORY)
    recommender = Recommender.load(first_model)
    expected = ids_and_scores(
        recommender.recommend(
            as_history(HISTORY), min(rules.k, 20), deny=rules.deny, allow=rules.allow, filter=rules.filter,
            exclude_seen=rules.exclude_seen, diversity=rules.diversity, now=NOW_MS,
        )
    )  # fmt: skip
    append(engine, HISTORY[:2], User("shop", "half"))
    contexts = [
        UserContext("shop", "anna"),
        UserContext("shop", events=HISTORY),
        UserContext("shop", "half", HISTORY[2:]),
    ]
    for context in contexts:
        result = engine.recommend(RecommendQuery(context, rules, NOW_MS))
        assert ids_and_scores(result.items) == expected
        assert (result.event_count, result.skipped_count) == (3, 1)
        assert [item.rank for item in result.items] == list(range(1, len(expected) + 1))
        assert result.items[0].title == f"Product {result.items[0].item_id}"


def test_a_batch_gives_the_same_results_as_single_queries(engine: ServingEngine) -> None:
    users = [User("shop", f"user {number}") for number in range(6)]
    for number, user in enumerate(users):
        append(engine, HISTORY[: number % 4 + 1], user)
    queries = [
        RecommendQuery(UserContext("shop", user.user_id), rules, NOW_MS, explain)
        for user in users
        for rules in (RankingRules(k=3), RankingRules(k=5), RankingRules(k=3, deny=["p1"]))
        for explain in (False, True)
    ]
    for query, result in zip(queries, recommend_batch(engine.model, queries), strict=True):
        assert isinstance(result, RecommendResult)
        single = engine.recommend(query)
        assert [item.item_id for item in result.items] == [item.item_id for item in single.items]
        assert [item.score for item in result.items] == pytest.approx(
            [item.score for item in single.items], abs=1e-5
        )


def test_an_invalid_query_does_not_fail_the_rest_of_the_batch(engine: ServingEngine) -> None:
    valid = RecommendQuery(UserContext("shop", events=HISTORY), RankingRules(k=3))
    unknown_column = replace(valid, rules=RankingRules(k=3, filter={"colour": "red"}))
    too_early = replace(valid, now_ms=START_MS - 1)
    results = recommend_batch(engine.model, [unknown_column, valid, too_early, valid])
    assert isinstance(results[0], DataError) and "colour" in str(results[0])
    assert isinstance(results[2], DataError) and "is before the last event" in str(results[2])
    assert isinstance(results[1], RecommendResult) and results[1] == results[3]
    with pytest.raises(DataError, match="colour"):
        engine.recommend(unknown_column)


def test_users_without_known_events_get_popular_items(engine: ServingEngine) -> None:
    for context in (
        UserContext("shop", "new user"),
        UserContext("shop"),
        UserContext("shop", events=[UserEvent("unknown item")]),
    ):
        result = engine.recommend(RecommendQuery(context, RankingRules(k=3)))
        assert len(result.items) == 3
        assert result.items[0].reason.startswith("popular")


def test_attributes_of_the_request_choose_the_popular_items(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = engine.model.items.ranker("shop")
    items = ranker.catalogue.warm
    table = ContextTable("country", ("FR", "UK"), np.zeros((2, items), dtype=np.float32))
    table.log_ratio_VN[0, -1] = 9.0
    popular = replace(ranker.popular, contexts=(table,))
    changed = replace(ranker, popular=popular)
    recommender = engine.model.items.recommender("shop").with_ranker(changed)
    monkeypatch.setattr(engine.model.items, "listing", lambda tenant, min_users: recommender)
    query = RecommendQuery(UserContext("shop", "new user", attributes={"country": "FR"}), RankingRules(k=1))
    plain = replace(query, context=UserContext("shop", "new user"))
    french, other = recommend_batch(engine.model, [query, plain])
    assert isinstance(french, RecommendResult) and isinstance(other, RecommendResult)
    assert french.items[0].item_id == ranker.catalogue.ids[items - 1]
    assert french.items[0].reason.startswith("popular in FR, ")
    assert other.items[0].item_id != french.items[0].item_id


def test_events_of_the_request_are_merged_with_the_log_by_time(
    engine: ServingEngine, first_model: Path
) -> None:
    append(engine, [HISTORY[0], HISTORY[3]])
    context = UserContext("shop", "anna", [HISTORY[1]])
    result = engine.recommend(RecommendQuery(context, RankingRules(k=5, exclude_seen=True), NOW_MS))
    merged = as_history([HISTORY[0], HISTORY[1], HISTORY[3]])
    expected = Recommender.load(first_model).recommend(merged, 5, exclude_seen=True, now=NOW_MS)
    assert ids_and_scores(result.items) == ids_and_scores(expected)
    # they are not stored
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=5), NOW_MS)
    assert engine.recommend(query).event_count == 2


def test_the_default_query_time_is_now_but_not_before_the_last_event(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(engine, HISTORY)
    monkeypatch.setattr("time.time", lambda: NOW_MS / 1000)
    context = UserContext("shop", "anna")
    assert engine.recommend(RecommendQuery(context)) == engine.recommend(
        RecommendQuery(context, now_ms=NOW_MS)
    )
    later = engine.recommend(RecommendQuery(context, now_ms=NOW_MS * 2))
    assert ids_and_scores(later.items) != ids_and_scores(engine.recommend(RecommendQuery(context)).items)
    monkeypatch.setattr("time.time", lambda: START_MS / 1000)  # this server's clock is behind
    at_last_event = engine.recommend(RecommendQuery(context, now_ms=HISTORY[3].time_ms))
    assert ids_and_scores(engine.recommend(RecommendQuery(context)).items) == ids_and_scores(
        at_last_event.items
    )


def test_attributions_equal_the_influences_of_the_recommender(
    engine: ServingEngine, first_model: Path
) -> None:
    append(engine, HISTORY)
    result = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=4), NOW_MS, explain=True)
    )
    recommender = Recommender.load(first_model)
    for item in result.items:
        expected = sorted(
            recommender.explain(as_history(HISTORY), item.item_id, now=NOW_MS),
            key=lambda found: -abs(found.influence),
        )
        assert item.attributions is not None
        best = item.attributions[0]
        assert [one.item_id for one in item.attributions] == [one.item_id for one in expected]
        assert [one.influence for one in item.attributions] == pytest.approx(
            [one.influence for one in expected], abs=1e-5
        )
        assert best.title == f"Product {best.item_id}"
        assert {one.timestamp for one in item.attributions} == {HISTORY[place].time_ms for place in (0, 1, 3)}
        if best.influence > 0:
            assert item.reason == f"because of {best.title}"


def test_the_latest_override_of_an_item_replaces_earlier_ones(engine: ServingEngine) -> None:
    query = RecommendQuery(UserContext("shop", events=HISTORY), RankingRules(k=3), NOW_MS)
    first = engine.recommend(query).items[0].item_id
    assert engine.put_item("shop", first, {"title": "New name", "price": 3, "available": None}) is True
    assert engine.recommend(query).items[0].title == "New name"
    assert engine.put_item("shop", first, {"available": False}) is True
    assert first not in [item.item_id for item in engine.recommend(query).items]
    # columns that the second override does not name have the model's values again
    unavailable = replace(query, rules=RankingRules(k=20, filter={"available": False}))
    assert [(item.item_id, item.title) for item in engine.recommend(unavailable).items] == [
        (first, f"Product {first}")
    ]
    # another tenant is not affected
    of_rival = replace(query, context=UserContext("rival", events=HISTORY))
    assert first in [item.item_id for item in engine.recommend(of_rival).items]
    assert engine.put_item("shop", "unknown item", {"title": "Not in the model"}) is False
    with pytest.raises(DataError, match="price"):
        engine.put_item("shop", first, {"price": "cheap"})


def test_refresh_applies_item_overrides_of_another_process(engine: ServingEngine, first_model: Path) -> None:
    store = SQLiteStore(engine.store.path)  # type: ignore[attr-defined]
    other = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    query = RecommendQuery(UserContext("shop", events=HISTORY), RankingRules(k=3), NOW_MS)
    first = engine.recommend(query).items[0].item_id
    engine.put_item("shop", first, {"available": False})
    assert other.recommend(query).items[0].item_id == first
    other.refresh()
    assert other.recommend(query).items[0].item_id != first
    # an engine that starts afterwards has the override from the beginning
    later = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    assert later.recommend(query) == other.recommend(query)
    store.close()


def test_a_swapped_model_serves_the_same_log(
    engine: ServingEngine, first_model: Path, second_model: Path
) -> None:
    # p3 is not in the second model
    append(engine, [UserEvent(f"p{item}", START_MS + item) for item in (6, 9, 3)])
    engine.put_item("shop", "p9", {"title": "Nine"})
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=20), NOW_MS)
    before = engine.recommend(query)
    version = engine.swap_model(second_model)
    after = engine.recommend(query)
    assert (before.event_count, before.skipped_count) == (3, 0)
    assert (after.event_count, after.skipped_count) == (2, 1)
    assert after.model_version == version != before.model_version
    expected = Recommender.load(second_model).recommend(["p6", "p9"], 20)
    assert ids_and_scores(after.items) == ids_and_scores(expected)
    assert {item.item_id: item.title for item in after.items}["p9"] == "Nine"
    assert engine.swap_model(first_model) == before.model_version
    assert engine.recommend(query) == before


def test_a_damaged_model_is_not_served(engine: ServingEngine, first_model: Path, tmp_path: Path) -> None:
    before = engine.model
    with pytest.raises(ArtefactError, match="not a saved model"):
        engine.swap_model(tmp_path)
    damaged = tmp_path / "damaged.model"
    damaged.mkdir()
    for file in first_model.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (damaged / "step.onnx").write_bytes(b"not a graph")
    with pytest.raises(ArtefactError):
        engine.swap_model(damaged)
    assert engine.model is before


def test_only_models_signed_by_the_key_replace_a_verified_one(
    store: SQLiteStore, first_model: Path, second_model: Path, tmp_path: Path
) -> None:
    """The public key is read once, so a key file that an attacker replaces later changes nothing."""
    public, keys = make_key_pair(tmp_path / "key"), tmp_path / "key"
    for name, model in (("first", first_model), ("second", second_model)):
        shutil.copytree(model, tmp_path / name)
        (tmp_path / name / "manifest.sig").write_bytes(
            SigningKey.of(keys).sign((model / "manifest.json").read_bytes())
        )
    engine = ServingEngine(ServedModel.open(tmp_path / "first", store, 2**20, verify=public), store)
    make_key_pair(tmp_path / "attacker")
    (tmp_path / "attacker.pub").replace(tmp_path / "key.pub")
    before = engine.model
    with pytest.raises(ArtefactError, match=r"is not signed \(it has no manifest\.sig\)"):
        engine.swap_model(second_model)
    shutil.copytree(second_model, tmp_path / "forged")
    shutil.copy(tmp_path / "first" / "manifest.sig", tmp_path / "forged" / "manifest.sig")
    with pytest.raises(ArtefactError, match="is not one of its manifest by the key"):
        engine.swap_model(tmp_path / "forged")
    assert engine.model is before
    version = engine.swap_model(tmp_path / "second")
    assert engine.model.version == version != before.version
    with pytest.raises(ArtefactError, match="is not signed"):
        engine.swap_model(first_model)


def test_a_manifest_that_is_a_named_pipe_is_refused_without_reading_it(
    engine: ServingEngine, first_model: Path, tmp_path: Path
) -> None:
    """Opening the pipe would wait for a writer for ever."""
    shutil.copytree(first_model, tmp_path / "piped.model")
    (tmp_path / "piped.model" / "manifest.json").unlink()
    os.mkfifo(tmp_path / "piped.model" / "manifest.json")
    with pytest.raises(
        ArtefactError, match=r"manifest\.json is a named pipe, not a regular file; copy the whole "
    ):
        engine.swap_model(tmp_path / "piped.model")


def test_a_new_model_builds_the_states_of_recent_users_before_it_serves(
    engine: ServingEngine, second_model: Path
) -> None:
    for number in range(5):
        append(engine, HISTORY[:1], User("shop", f"user {number}"))
        engine.recommend(RecommendQuery(UserContext("shop", f"user {number}")))
    engine.swap_model(second_model)
    assert len(engine.model.states) == 5


def test_similar_items_equal_those_of_the_recommender(engine: ServingEngine, first_model: Path) -> None:
    version, similar = engine.similar_items("shop", "p3", 4)
    assert version == engine.model.version
    assert ids_and_scores(similar) == ids_and_scores(Recommender.load(first_model).similar_items("p3", 4))
    assert len(engine.similar_items("shop", "p3", 900)[1]) == 19
    with pytest.raises(UnknownItemError, match="does not know item 'unknown item'"):
        engine.similar_items("shop", "unknown item", 4)


def test_continuations_equal_those_of_the_recommender(engine: ServingEngine, first_model: Path) -> None:
    append(engine, HISTORY)
    expected = Recommender.load(first_model).generate(as_history(HISTORY), 4, seed=3)
    for context in (UserContext("shop", "anna"), UserContext("shop", events=HISTORY)):
        items = engine.generate(context, 4, {"seed": 3})[1]
        assert [item.item_id for item in items] == expected
        assert [item.log_probability for item in items] == pytest.approx(expected.log_probabilities)


def test_item_search_ignores_case_and_respects_the_limit(engine: ServingEngine, first_model: Path) -> None:
    ids = Recommender.load(first_model).items.ids.tolist()
    found = engine.search_items("shop", "PRODUCT p1", 30)[1]
    assert [item.item_id for item in found] == [one for one in ids if one.startswith("p1")]
    assert len(engine.search_items("shop", "", 7)[1]) == 7


def test_integer_item_ids_are_read_from_text(number_model: Path, store: SQLiteStore) -> None:
    engine = ServingEngine(ServedModel.open(number_model, store, 2**20), store)
    append(engine, [UserEvent(item, START_MS) for item in ("3", "17", "not a number", "003", "9" * 40)])
    result = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=4, deny=["1", "x"], allow=None))
    )
    assert (result.event_count, result.skipped_count) == (2, 3)
    recommender = Recommender.load(number_model)
    assert ids_and_scores(result.items) == ids_and_scores(recommender.recommend([3, 17], 4, deny=[1]))
    similar = engine.similar_items("shop", "3", 2)[1]
    assert similar[0].item_id == recommender.similar_items(3, 2)[0].item_id


def test_a_deleted_user_gets_the_results_of_a_new_user(engine: ServingEngine) -> None:
    append(engine, [event._replace(event_id=str(place)) for place, event in enumerate(HISTORY)])
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=5), NOW_MS)
    of_new_user = replace(query, context=UserContext("shop", "new user"))
    assert engine.recommend(query) != engine.recommend(of_new_user)
    assert engine.erase_user(ANNA).events == 4
    assert engine.recommend(query) == engine.recommend(of_new_user)
    assert ANNA not in engine.model.states.recent_users()


def test_refresh_drops_users_deleted_by_another_process(engine: ServingEngine, first_model: Path) -> None:
    """Their states leave the memory even if no request asks for them again."""
    store = SQLiteStore(engine.store.path)  # type: ignore[attr-defined]
    other = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    bert = User("shop", "bert")
    for user in (ANNA, bert):
        append(engine, HISTORY[:1], user)
        other.recommend(RecommendQuery(UserContext(*user)))
    engine.erase_user(ANNA)
    assert other.model.states.recent_users() == [bert, ANNA]
    other.refresh()
    assert other.model.states.recent_users() == [bert]
    store.close()


def test_the_snippet_in_the_serving_docs_runs(
    first_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.model").symlink_to(first_model)
    names: dict[str, Any] = {}
    exec(compile(snippet, "serving.md", "exec"), names)
    result = names["engine"].recommend(RecommendQuery(UserContext("default", "anna")))
    assert (len(result.items), result.event_count) == (10, 1)
    names["store"].close()


def test_an_override_that_does_not_fit_is_ignored_and_logged(
    engine: ServingEngine, first_model: Path, second_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may date from another model, or from another process at the same time."""
    store = SQLiteStore(engine.store.path)  # type: ignore[attr-defined]
    other = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    engine.put_item("shop", "p1", {"colour": "red", "title": "One"})
    # written without the check, as by a process that has not yet read the new column
    store.put_item("shop", "p2", {"colour": 5, "title": "Two", "count": 9})
    for each in (engine, other):
        each.refresh()
        catalogue = each.model.items.ranker("shop").catalogue
        assert catalogue.item("p2")["title"] == "Two"
        assert {catalogue.item("p1")["colour"], catalogue.item("p2")["colour"]} in ({"red", None}, {5, None})
    assert "item value ignored" in caplog.text
    assert engine.put_item("shop", "p3", {"title": "Three"})
    assert engine.swap_model(second_model) and engine.swap_model(first_model)
    later = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    assert later.search_items("shop", "Two", 5)[1][0].item_id == "p2"
    for values in ({"price": "cheap"}, {"count": 1}):
        with pytest.raises(DataError):
            engine.put_item("shop", "unknown item", values)
    store.close()


def test_a_late_event_in_a_request_counts_towards_the_replay_limit(engine: ServingEngine) -> None:
    append(engine, [UserEvent(f"p{place % 20}", START_MS + place, "view") for place in range(50)])
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=3), NOW_MS)
    engine.recommend(query)
    late = replace(query, context=UserContext("shop", "anna", [UserEvent("p1", 1, "view")]))
    (result,) = recommend_batch(engine.model, [late], max_new_events=49)
    assert isinstance(result, LongHistoryError)
    assert engine.recommend(late).event_count == 51


@pytest.mark.parametrize("events", [3, 30, 300])
def test_explanations_cover_only_the_last_events(
    engine: ServingEngine, first_model: Path, events: int
) -> None:
    """Earlier events are in a snapshot, and their influence is not computed."""
    history = [
        UserEvent(f"p{place * 7 % 20}", START_MS + 1000 * place, "view", 1.0) for place in range(events)
    ]
    for event in history:
        append(engine, [event])
        engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=1)))
    result = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=2), NOW_MS, explain=True)
    )
    recommender = Recommender.load(first_model)
    for item in result.items:
        influences = recommender.explain(as_history(history), item.item_id, now=NOW_MS, last=EXPLAINED_EVENTS)
        best = max(influences, key=lambda one: abs(one.influence))
        assert item.attributions is not None
        assert item.attributions[0].influence == pytest.approx(best.influence, abs=1e-5)
        assert item.attributions[0].item_id == best.item_id


def test_an_explanation_that_replays_many_events_after_a_late_one_is_not_made_with_the_limit(
    engine: ServingEngine, first_model: Path
) -> None:
    history = [UserEvent(f"p{place * 7 % 20}", START_MS + 1000 * place, "view", 1.0) for place in range(300)]
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=2), NOW_MS, explain=True)
    append(engine, history)
    engine.recommend(query)
    assert engine.recommend(query, max_new_events=200).items[0].attributions
    late = UserEvent("p3", START_MS - 1000, "view", 1.0)
    append(engine, [late])
    engine.replay(ANNA)
    with pytest.raises(LongHistoryError) as caught:
        engine.recommend(query, max_new_events=200)
    assert not caught.value.cacheable  # another replay of the state would not help
    recommender = Recommender.load(first_model)
    for item in engine.recommend(query).items:
        influences = recommender.explain(
            as_history([late, *history]), item.item_id, now=NOW_MS, last=EXPLAINED_EVENTS
        )
        best = max(influences, key=lambda one: abs(one.influence))
        assert item.attributions is not None
        assert item.attributions[0].influence == pytest.approx(best.influence, abs=1e-5)


def test_a_user_deleted_during_a_query_gets_no_attributions(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(engine, HISTORY)
    rank = engine.model.items.ranker("shop").rank

    def erase_then_rank(*arguments: Any) -> Any:
        engine.erase_user(ANNA)
        return rank(*arguments)

    monkeypatch.setattr(
        "reprise.recommender.ranker.Ranker.rank", lambda _, *arguments: erase_then_rank(*arguments)
    )
    result = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=3), NOW_MS, explain=True)
    )
    assert [item.attributions for item in result.items] == [[], [], []]


@pytest.mark.parametrize("path", ["/", ".", "x" * 5000])
def test_a_path_that_is_not_a_model_raises_an_artefact_error(engine: ServingEngine, path: str) -> None:
    with pytest.raises(ArtefactError):
        engine.swap_model(Path(path))


@pytest.mark.parametrize(
    ("damage", "message"), [("facts", r"shop\.model is not valid"), ("golden", "a golden test cannot be run")]
)
def test_a_manifest_that_raises_an_unexpected_exception_is_not_served(
    engine: ServingEngine, first_model: Path, tmp_path: Path, damage: str, message: str
) -> None:
    copied = tmp_path / "shop.model"
    shutil.copytree(first_model, copied)
    manifest = json.loads((copied / MANIFEST).read_text())
    del manifest["sha256"]
    if damage == "golden":
        manifest["facts"]["golden"] = [{"about": "nothing"}]
    else:
        manifest["facts"] = {}
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (copied / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match=message):
        engine.swap_model(copied)
    with pytest.raises(ArtefactError, match=message):
        ServedModel.open(copied, engine.store, 2**20)


@pytest.mark.parametrize("explain", [False, True])
def test_a_state_that_is_not_finite_gets_the_popular_items(
    explain: bool, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(engine, HISTORY)
    append(engine, HISTORY, User("shop", "bert"))
    rules = RankingRules(k=5, deny=["p1"])
    queries = [
        RecommendQuery(UserContext("shop", name), rules, NOW_MS, explain) for name in ("anna", "bert", "carl")
    ]
    expected = [engine.recommend(query) for query in queries]
    state = engine.model.states.current(ANNA)
    monkeypatch.setattr(
        engine.model.states, "current", lambda user, **_: broken if user == ANNA else other(user)
    )
    other = StateCache.current.__get__(engine.model.states)
    broken = replace(state, network_state={
        name: np.full_like(array, np.nan) if array.dtype == np.float32 else array
        for name, array in state.network_state.items()
    })  # fmt: skip
    found = [engine.recommend(query) for query in queries]
    assert ids_and_scores(found[0].items) == ids_and_scores(expected[2].items)
    assert {item.reason for item in found[0].items} == {f"popular items, {NOT_FINITE}"}
    assert found[1] == expected[1]
    _, items = engine.generate(UserContext("shop", "anna"), 3, {"seed": 1})
    assert len(items) == 3


def test_a_request_that_explores_has_propensities_and_others_have_none(engine: ServingEngine) -> None:
    plain = RecommendQuery(UserContext("shop", events=HISTORY), RankingRules(k=4), NOW_MS)
    explored = replace(plain, rules=RankingRules(k=4, explore=0.5, explore_seed=1))
    before = engine.recommend(plain)
    first, second = recommend_batch(engine.model, [explored, plain])
    assert isinstance(first, RecommendResult) and isinstance(second, RecommendResult)
    assert sum(item.propensity is not None for item in first.items) == 2
    assert second == before and all(item.propensity is None for item in before.items)
    counts = engine.model.impressions["shop"].counts(20)
    assert counts.sum() == 4
    assert "other" not in engine.model.impressions


def test_exploration_with_an_explanation_keeps_its_reason(engine: ServingEngine) -> None:
    rules = RankingRules(k=4, explore=0.5, explore_seed=1)
    found = engine.recommend(RecommendQuery(UserContext("shop", events=HISTORY), rules, NOW_MS, explain=True))
    explored = [item for item in found.items if item.propensity is not None]
    assert len(explored) == 2
    assert all(item.reason.startswith("exploration: ") and item.attributions for item in explored)
