"""An A/B test: stable shares of the users, answers of one model per user, and changes that reach all models."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.errors import ConfigError
from reprise.server.engine.requests import RecommendQuery, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.engine.split_engine import SplitEngine, UserSplit
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

USERS = [User("shop", f"u{number}") for number in range(200)]
T_MS = 1_700_000_000_000
RECORDED = [0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0]


def opened(path: Path, log: SQLiteStore) -> ServedModel:
    return ServedModel.open(path, log, 2**20)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteStore]:
    log = SQLiteStore(tmp_path / "events.db")
    yield log
    log.close()


@pytest.fixture
def split(second_model: Path, third_model: Path, log: SQLiteStore) -> SplitEngine:
    return SplitEngine([opened(second_model, log), opened(third_model, log)], log, UserSplit((50, 50)))


def query(user: User | None, *items: str) -> RecommendQuery:
    return RecommendQuery(
        UserContext(
            "shop", None if user is None else user.user_id, [UserEvent(item, T_MS) for item in items]
        ),
        now_ms=T_MS,
    )


def test_shares_are_kept_and_do_not_depend_on_the_process() -> None:
    counts = Counter(UserSplit((90, 10)).variant(User("shop", str(number))) for number in range(20_000))
    assert counts[1] == pytest.approx(
        2_000, abs=150
    )  # 3.5 standard deviations of sqrt(20,000 * .9 * .1) = 42
    # recorded once: the hash must be the same in each process and each version
    assert [UserSplit((3, 1), "spring").variant(user) for user in USERS[:12]] == RECORDED
    assert [UserSplit((75, 25), "spring").variant(user) for user in USERS[:12]] == RECORDED


def test_another_key_assigns_users_independently() -> None:
    one, two = UserSplit((50, 50), "one"), UserSplit((50, 50), "two")
    both = Counter(
        (one.variant(user), two.variant(user)) for user in (User("t", str(n)) for n in range(4_000))
    )
    assert set(both) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all(count == pytest.approx(1_000, abs=120) for count in both.values())


def test_a_growing_share_keeps_its_users() -> None:
    """From 90,10 to 50,50 no user of the first variant of 50,50 had the second one before."""
    before, after = UserSplit((90, 10)), UserSplit((50, 50))
    assert all(before.variant(user) == 0 for user in USERS if after.variant(user) == 0)


def test_each_user_gets_the_answer_of_one_model(
    split: SplitEngine, second_model: Path, third_model: Path, log: SQLiteStore
) -> None:
    single = [ServingEngine(opened(path, log), log) for path in (second_model, third_model)]
    log.append([(user, UserEvent("p6", T_MS)) for user in USERS[:20]])
    queries = [query(user) for user in USERS[:20]] + [query(None, "p6")]
    batch = split.recommend_batch(queries)
    for one, result in zip(queries, batch, strict=True):
        user = one.context.user
        place = 0 if user is None else split.split.variant(user)
        expected = single[place].recommend(one)
        assert not isinstance(result, Exception)
        assert [item.item_id for item in result.items] == [item.item_id for item in expected.items]
        assert [item.score for item in result.items] == pytest.approx(
            [item.score for item in expected.items], abs=1e-4
        )
        assert result.model_version == expected.model_version
        assert result.variant == (None if user is None else "ab"[place])
        assert split.recommend(one).model_version == result.model_version
    assert {split.split.variant(user) for user in USERS[:20]} == {0, 1}


def test_deletions_items_and_states_reach_all_models(split: SplitEngine, log: SQLiteStore) -> None:
    users = [next(user for user in USERS if split.split.variant(user) == place) for place in (0, 1)]
    log.append([(user, UserEvent("p6", T_MS)) for user in users])
    for user in users:
        assert split.recommend(query(user)).event_count == 1
        assert split.delete_user(user) == 1
        assert split.recommend(query(user)).event_count == 0
    split.put_item("shop", "p6", {"available": False})
    for user in users:
        assert "p6" not in [item.item_id for item in split.recommend(query(user)).items]
    split.delete_item("shop", "p6")
    split.refresh()
    split.save_states()


def test_a_reload_replaces_the_model_of_the_same_directory(split: SplitEngine, third_model: Path) -> None:
    before = list(split.models)
    split.swap_model(third_model)
    assert [after is old for after, old in zip(split.models, before, strict=True)] == [True, False]


def test_mistakes_are_refused(first_model: Path, second_model: Path, log: SQLiteStore) -> None:
    models = [opened(second_model, log), opened(first_model, log)]
    with pytest.raises(ConfigError, match="got 2 models and 3 shares; give one share for each model"):
        SplitEngine(models, log, UserSplit((1, 1, 1)))
    with pytest.raises(ConfigError, match="compare models that were trained on the same kinds"):
        SplitEngine(models, log, UserSplit((1, 1)))
    with pytest.raises(ConfigError, match="a share of the split must be above 0, got 0"):
        UserSplit((1, 0))
    with pytest.raises(ConfigError, match="needs 2 to 26 shares, got 1"):
        UserSplit((1,))
    with pytest.raises(ConfigError, match="at most 64 bytes, got 65"):
        UserSplit((1, 1), "x" * 65)
