"""The live recommender answers as the recommender does, from a log."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reprise.errors import ArtefactError, DataError
from reprise.recommender import Recommender
from reprise.server.engine.batch_inference import EXPLAINED_EVENTS, recommend_batch
from reprise.server.engine.requests import RankingRules, RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine, UnknownItemError
from reprise.server.engine.state_cache import LongHistoryError
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

START_MS = 1_700_000_000_000
NOW_MS = START_MS + 10_000_000
ANNA = User("shop", "anna")
PAST = [
    UserEvent("p3", START_MS, "view", 2.0), UserEvent("p7", START_MS + 5_000, "cart"),
    UserEvent("nobody's", START_MS + 6_000), UserEvent("p3", START_MS + 6_000, "buy", -1.5),
]  # fmt: skip


def new(event: UserEvent, user: User = ANNA) -> tuple[User, UserEvent]:
    return user, event


def history(past: list[UserEvent]) -> list[dict[str, Any]]:
    return [
        {
            "item_id": one.item_id,
            "timestamp": None if one.time_ms is None else one.time_ms / 1000,
            "kind": one.kind,
            "value": one.value,
        }
        for one in past
    ]


def ranked(answer: RecommendResult) -> list[tuple[Any, float]]:
    return [(one.item_id, one.score) for one in answer.items]


def told(answer: Any) -> list[tuple[Any, float]]:
    return [(one.item_id, one.score) for one in answer]


RULES = [
    RankingRules(k=5),
    RankingRules(k=20),
    RankingRules(k=500),
    RankingRules(k=4, deny=["p1", "p2", "unheard of"]),
    RankingRules(k=4, allow=["p1", "p2", "p9", "unheard of"]),
    RankingRules(k=6, exclude_seen=True),
    RankingRules(k=6, filter={"price": {"max": 9}, "shelf": "left"}),
    RankingRules(k=6, diversity=0.6),
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_the_same_question_has_the_same_answer_as_in_memory(
    rules: RankingRules, engine: ServingEngine, first_model: Path
) -> None:
    """From the log, told with the question, or half and half."""
    engine.store.append([new(one) for one in PAST])
    shop = Recommender.load(first_model)
    expected = told(
        shop.recommend(
            history(PAST), min(rules.k, 20), deny=rules.deny, allow=rules.allow, filter=rules.filter,
            exclude_seen=rules.exclude_seen, diversity=rules.diversity, now=NOW_MS,
        )
    )  # fmt: skip
    engine.store.append([new(one, User("shop", "half")) for one in PAST[:2]])
    askers = [
        UserContext("shop", "anna"),
        UserContext("shop", events=PAST),
        UserContext("shop", "half", PAST[2:]),
    ]
    for asker in askers:
        answer = engine.recommend(RecommendQuery(asker, rules, NOW_MS))
        assert ranked(answer) == expected
        assert (answer.event_count, answer.skipped_count) == (3, 1)
        assert [one.rank for one in answer.items] == list(range(1, len(expected) + 1))
        assert answer.items[0].title == f"Product {answer.items[0].item_id}"


def test_questions_together_have_the_answers_they_have_alone(engine: ServingEngine) -> None:
    users = [User("shop", f"user {number}") for number in range(6)]
    for number, user in enumerate(users):
        engine.store.append([new(one, user) for one in PAST[: number % 4 + 1]])
    questions = [
        RecommendQuery(UserContext("shop", user.user_id), rules, NOW_MS, explain)
        for user in users
        for rules in (RankingRules(k=3), RankingRules(k=5), RankingRules(k=3, deny=["p1"]))
        for explain in (False, True)
    ]
    together = recommend_batch(engine.model, questions)
    for question, answer in zip(questions, together, strict=True):
        assert isinstance(answer, RecommendResult)
        alone = engine.recommend(question)
        assert [one.item_id for one in answer.items] == [one.item_id for one in alone.items]
        assert [one.score for one in answer.items] == pytest.approx(
            [one.score for one in alone.items], abs=1e-5
        )


def test_one_question_that_cannot_be_answered_spoils_no_other(engine: ServingEngine) -> None:
    good = RecommendQuery(UserContext("shop", events=PAST), RankingRules(k=3))
    bad = replace(good, rules=RankingRules(k=3, filter={"colour": "red"}))
    early = replace(good, now_ms=START_MS - 1)
    answers = recommend_batch(engine.model, [bad, good, early, good])
    assert isinstance(answers[0], DataError) and "colour" in str(answers[0])
    assert isinstance(answers[2], DataError) and "is before the last event" in str(answers[2])
    assert isinstance(answers[1], RecommendResult) and answers[1] == answers[3]
    with pytest.raises(DataError, match="colour"):
        engine.recommend(bad)


def test_a_stranger_gets_what_is_popular(engine: ServingEngine) -> None:
    for asker in (
        UserContext("shop", "nobody"),
        UserContext("shop"),
        UserContext("shop", events=[UserEvent("nobody's")]),
    ):
        answer = engine.recommend(RecommendQuery(asker, RankingRules(k=3)))
        assert len(answer.items) == 3
        assert answer.items[0].reason.startswith("popular")


def test_told_events_among_those_of_the_log_are_read_in_their_place(
    engine: ServingEngine, first_model: Path
) -> None:
    engine.store.append([new(PAST[0]), new(PAST[3])])
    answer = engine.recommend(
        RecommendQuery(UserContext("shop", "anna", [PAST[1]]), RankingRules(k=5, exclude_seen=True), NOW_MS)
    )
    shop = Recommender.load(first_model)
    past = [PAST[0], PAST[1], PAST[3]]
    assert ranked(answer) == told(shop.recommend(history(past), 5, exclude_seen=True, now=NOW_MS))
    # and they are not kept
    assert (
        engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=5), NOW_MS)).event_count
        == 2
    )


def test_without_a_moment_the_answer_is_for_now(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.store.append([new(one) for one in PAST])
    monkeypatch.setattr("time.time", lambda: NOW_MS / 1000)
    asker = UserContext("shop", "anna")
    assert engine.recommend(RecommendQuery(asker)) == engine.recommend(RecommendQuery(asker, now_ms=NOW_MS))
    later = engine.recommend(RecommendQuery(asker, now_ms=NOW_MS * 2))
    assert ranked(later) != ranked(engine.recommend(RecommendQuery(asker)))
    # a clock that is behind the one of the event is taken for that of the event
    monkeypatch.setattr("time.time", lambda: START_MS / 1000)
    assert ranked(engine.recommend(RecommendQuery(asker))) == ranked(
        engine.recommend(RecommendQuery(asker, now_ms=PAST[3].time_ms))
    )


def test_causes_are_the_influences_of_the_recommender(engine: ServingEngine, first_model: Path) -> None:
    engine.store.append([new(one) for one in PAST])
    answer = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=4), NOW_MS, explain=True)
    )
    shop = Recommender.load(first_model)
    for one in answer.items:
        expected = sorted(
            shop.explain(history(PAST), one.item_id, now=NOW_MS), key=lambda found: -abs(found.influence)
        )
        assert one.attributions is not None
        assert [cause.item_id for cause in one.attributions] == [found.item_id for found in expected]
        assert [cause.influence for cause in one.attributions] == pytest.approx(
            [found.influence for found in expected], abs=1e-5
        )
        assert one.attributions[0].title == f"Product {one.attributions[0].item_id}"
        assert {cause.timestamp for cause in one.attributions} == {
            PAST[0].time_ms,
            PAST[1].time_ms,
            PAST[3].time_ms,
        }
        if one.attributions[0].influence > 0:
            assert (
                one.reason == f"because of {one.attributions[0].title} ({one.attributions[0].influence:+.2f})"
            )


def test_an_item_is_as_was_last_said_of_it(engine: ServingEngine) -> None:
    question = RecommendQuery(UserContext("shop", events=PAST), RankingRules(k=3), NOW_MS)
    first = engine.recommend(question).items[0].item_id
    assert engine.put_item("shop", first, {"title": "New name", "price": 3, "available": None}) is True
    assert engine.recommend(question).items[0].title == "New name"
    assert engine.put_item("shop", first, {"available": False}) is True
    assert first not in [one.item_id for one in engine.recommend(question).items]
    # what the second time did not say is as it was in the model
    asked = replace(question, rules=RankingRules(k=20, filter={"available": False}))
    assert [(one.item_id, one.title) for one in engine.recommend(asked).items] == [
        (first, f"Product {first}")
    ]
    assert first in [
        one.item_id
        for one in engine.recommend(replace(question, context=UserContext("rival", events=PAST))).items
    ]
    assert engine.put_item("shop", "unheard of", {"title": "Not yet trained"}) is False
    with pytest.raises(DataError, match="price"):
        engine.put_item("shop", first, {"price": "cheap"})


def test_what_another_process_was_told_of_an_item_is_followed(
    engine: ServingEngine, first_model: Path
) -> None:
    store = SQLiteStore(engine.store.path)  # type: ignore[attr-defined]
    other = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    question = RecommendQuery(UserContext("shop", events=PAST), RankingRules(k=3), NOW_MS)
    first = engine.recommend(question).items[0].item_id
    engine.put_item("shop", first, {"available": False})
    assert other.recommend(question).items[0].item_id == first
    other.refresh()
    assert other.recommend(question).items[0].item_id != first
    late = ServingEngine(
        ServedModel.open(first_model, store, 2**20), store
    )  # one that starts afterwards knows it
    assert late.recommend(question) == other.recommend(question)
    store.close()


def test_another_model_takes_over_with_the_same_log(
    engine: ServingEngine, first_model: Path, second_model: Path
) -> None:
    past = [UserEvent(f"p{item}", START_MS + item) for item in (6, 9, 3)]  # p3 is not in the second model
    engine.store.append([new(one) for one in past])
    engine.put_item("shop", "p9", {"title": "Nine"})
    before = engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=3), NOW_MS))
    version = engine.swap_model(second_model)
    after = engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=20), NOW_MS))
    assert (before.event_count, before.skipped_count, after.event_count, after.skipped_count) == (3, 0, 2, 1)
    assert after.model_version == version != before.model_version
    expected = Recommender.load(second_model).recommend(["p6", "p9"], 20)
    assert ranked(after) == told(expected)
    assert {one.item_id: one.title for one in after.items}["p9"] == "Nine"
    assert engine.swap_model(first_model) == before.model_version
    assert engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=3), NOW_MS)) == before


def test_a_model_that_is_not_sound_does_not_take_over(
    engine: ServingEngine, first_model: Path, tmp_path: Path
) -> None:
    before = engine.model
    with pytest.raises(ArtefactError, match="no saved model"):
        engine.swap_model(tmp_path)
    broken = tmp_path / "broken.model"
    broken.mkdir()
    for file in first_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "step.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtefactError):
        engine.swap_model(broken)
    assert engine.model is before


def test_a_new_model_knows_those_who_asked_last_before_it_answers(
    engine: ServingEngine, second_model: Path
) -> None:
    engine.store.append([new(one, User("shop", f"user {number}")) for number in range(5) for one in PAST[:1]])
    for number in range(5):
        engine.recommend(RecommendQuery(UserContext("shop", f"user {number}")))
    engine.swap_model(second_model)
    assert len(engine.model.states) == 5


def test_similar_items_continuations_and_looking_for_items(engine: ServingEngine, first_model: Path) -> None:
    shop = Recommender.load(first_model)
    version, found = engine.similar_items("shop", "p3", 4)
    assert told(found) == told(shop.similar_items("p3", 4))
    assert version == engine.model.version
    assert len(engine.similar_items("shop", "p3", 900)[1]) == 19
    with pytest.raises(UnknownItemError, match="does not know item 'unheard of'"):
        engine.similar_items("shop", "unheard of", 4)
    engine.store.append([new(one) for one in PAST])
    expected = shop.generate(history(PAST), 4, seed=3)
    for asker in (UserContext("shop", "anna"), UserContext("shop", events=PAST)):
        steps = engine.generate(asker, 4, {"seed": 3})[1]
        assert [step.item_id for step in steps] == expected
        assert [step.log_probability for step in steps] == pytest.approx(expected.log_probabilities)
    assert [one.item_id for one in engine.search_items("shop", "PRODUCT p1", 30)[1]] == [
        one for one in shop.items.ids.tolist() if one.startswith("p1")
    ]
    assert len(engine.search_items("shop", "", 7)[1]) == 7


def test_ids_may_be_numbers(number_model: Path, store: SQLiteStore) -> None:
    engine = ServingEngine(ServedModel.open(number_model, store, 2**20), store)
    engine.store.append(
        [(ANNA, UserEvent(item, START_MS)) for item in ("3", "17", "no number", "003", "9" * 40)]
    )
    answer = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=4, deny=["1", "x"], allow=None))
    )
    assert (answer.event_count, answer.skipped_count) == (2, 3)
    expected = Recommender.load(number_model).recommend([3, 17], 4, deny=[1])
    assert ranked(answer) == told(expected)
    assert (
        engine.similar_items("shop", "3", 2)[1][0].item_id
        == Recommender.load(number_model).similar_items(3, 2)[0].item_id
    )


def test_to_forget_is_to_know_nothing(engine: ServingEngine) -> None:
    engine.store.append([new(one._replace(event_id=str(place))) for place, one in enumerate(PAST)])
    question = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=5), NOW_MS)
    stranger = replace(question, context=UserContext("shop", "nobody"))
    assert engine.recommend(question) != engine.recommend(stranger)
    assert engine.erase_user(ANNA).events == 4
    assert engine.recommend(question) == engine.recommend(stranger)
    assert ANNA not in engine.model.states.recent_users()


def test_whom_another_process_forgot_is_not_remembered(engine: ServingEngine, first_model: Path) -> None:
    """Nothing of them stays in memory, even if nobody asks about them again."""
    store = SQLiteStore(engine.store.path)  # type: ignore[attr-defined]
    other = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    bert = User("shop", "bert")
    engine.store.append([new(PAST[0]), new(PAST[0], bert)])
    for user in (ANNA, bert):
        other.recommend(RecommendQuery(UserContext(*user)))
    engine.erase_user(ANNA)
    assert other.model.states.recent_users() == [bert, ANNA]
    other.refresh()
    assert other.model.states.recent_users() == [bert]
    store.close()


def test_the_lines_of_the_page_about_serving_run(
    first_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.model").symlink_to(first_model)
    names: dict[str, Any] = {}
    exec(compile(snippet, "serving.md", "exec"), names)
    assert len(names["engine"].recommend(RecommendQuery(UserContext("default", "anna"))).items) == 10
    names["store"].close()


def test_a_value_that_does_not_fit_stops_nobody(
    engine: ServingEngine, first_model: Path, second_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was said while another model was served, or to another process at the same time."""
    store = SQLiteStore(engine.store.path)  # type: ignore[attr-defined]
    other = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    engine.put_item("shop", "p1", {"colour": "red", "title": "One"})
    store.put_item(
        "shop", "p2", {"colour": 5, "title": "Two", "count": 9}
    )  # as a process that had not heard of it
    for each in (engine, other):
        each.refresh()
        catalogue = each.model.items.ranker("shop").catalogue
        assert catalogue.item("p2")["title"] == "Two"
        assert {catalogue.item("p1")["colour"], catalogue.item("p2")["colour"]} in ({"red", None}, {5, None})
    assert "item value ignored" in caplog.text
    assert engine.put_item("shop", "p3", {"title": "Three"})
    assert engine.swap_model(second_model) and engine.swap_model(first_model)
    late = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    assert late.search_items("shop", "Two", 5)[1][0].item_id == "p2"
    for values in ({"price": "cheap"}, {"count": 1}):
        with pytest.raises(DataError):
            engine.put_item("shop", "unheard of", values)
    store.close()


def test_a_late_event_that_is_told_does_not_hold_up_those_who_wait(engine: ServingEngine) -> None:
    engine.store.append(
        [(ANNA, UserEvent(f"p{place % 20}", START_MS + place, "view")) for place in range(50)]
    )
    late = RecommendQuery(
        UserContext("shop", "anna", [UserEvent("p1", 1, "view")]), RankingRules(k=3), NOW_MS
    )
    engine.recommend(replace(late, context=UserContext("shop", "anna")))
    (answer,) = recommend_batch(engine.model, [late], max_new_events=49)
    assert isinstance(answer, LongHistoryError)
    assert engine.recommend(late).event_count == 51


@pytest.mark.parametrize("events", [3, 30, 300])
def test_causes_are_sought_among_the_last_events_only(
    engine: ServingEngine, first_model: Path, events: int
) -> None:
    """Whatever came before them is in the state already."""
    past = [UserEvent(f"p{place * 7 % 20}", START_MS + 1000 * place, "view", 1.0) for place in range(events)]
    for one in past:
        engine.store.append([new(one)])
        engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=1)))
    answer = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=2), NOW_MS, explain=True)
    )
    shop = Recommender.load(first_model)
    for one in answer.items:
        expected = shop.explain(history(past), one.item_id, now=NOW_MS, last=EXPLAINED_EVENTS)
        best = max(expected, key=lambda found: abs(found.influence))
        assert one.attributions is not None
        assert one.attributions[0].influence == pytest.approx(best.influence, abs=1e-5)
        assert one.attributions[0].item_id == best.item_id


def test_who_is_forgotten_while_the_causes_are_sought_has_none(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.store.append([new(one) for one in PAST])
    rank = engine.model.items.ranker("shop").rank

    def forgetting(*arguments: Any) -> Any:
        engine.erase_user(ANNA)
        return rank(*arguments)

    monkeypatch.setattr(
        "reprise.recommender.ranker.Ranker.rank", lambda _, *arguments: forgetting(*arguments)
    )
    answer = engine.recommend(
        RecommendQuery(UserContext("shop", "anna"), RankingRules(k=3), NOW_MS, explain=True)
    )
    assert [one.attributions for one in answer.items] == [[], [], []]


@pytest.mark.parametrize("path", ["/", ".", "x" * 5000])
def test_what_is_no_model_is_refused_in_words(engine: ServingEngine, path: str) -> None:
    with pytest.raises(ArtefactError):
        engine.swap_model(Path(path))
