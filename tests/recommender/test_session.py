import pytest
from rich_model import START_S, random_history

from reprise.errors import ConfigError, DataError
from reprise.recommender import Recommender


def test_a_session_recommends_what_the_whole_history_does(shop: Recommender) -> None:
    session, history = shop.session(remember_seen=True), []
    for item in ["p3", "unknown", "p3", "p7", "new", "p1"]:
        session.add(item)
        history.append(item)
        mine = session.recommend(5, deny=["p2"], exclude_seen=True)
        theirs = shop.recommend(history, 5, deny=["p2"], exclude_seen=True)
        assert mine.item_ids == theirs.item_ids
        assert [one.score for one in mine] == pytest.approx([one.score for one in theirs], abs=1e-6)
        assert mine.skipped == theirs.skipped
    assert (session.events, session.skipped) == (4, 2)


def test_a_new_session_recommends_popular_items(shop: Recommender) -> None:
    assert shop.session().recommend(3) == shop.recommend([], 3)


def test_the_state_does_not_grow(shop: Recommender) -> None:
    session = shop.session()
    sizes = []
    for _ in range(20):
        session.add("p1")
        sizes.append(sum(array.nbytes for array in session.state.values()))
    assert set(sizes) == {session.state_bytes}


def test_sessions_do_not_share_state(shop: Recommender) -> None:
    one, other = shop.session(), shop.session()
    one.add("p1")
    before = one.recommend(5)
    other.add("p2")
    assert one.recommend(5) == before


def test_exclude_seen_needs_remember_seen(shop: Recommender) -> None:
    session = shop.session()
    session.add("p1")
    with pytest.raises(
        ConfigError,
        match=r"^exclude_seen needs the items of the session, and this session does not keep them; create it with ",
    ):
        session.recommend(3, exclude_seen=True)


def test_an_id_of_the_wrong_type_is_an_error_and_does_not_change_the_session(shop: Recommender) -> None:
    session = shop.session()
    with pytest.raises(DataError, match=r"^item id 3 is of type int"):
        session.add(3)
    assert (session.events, session.skipped) == (0, 0)


def test_a_session_reads_times_kinds_and_values(rich_shop: Recommender) -> None:
    session, history = rich_shop.session(), random_history(7, 12)
    for position, event in enumerate(history, start=1):
        session.add(**event)
        for now in (None, START_S + 1e8):
            mine = session.recommend(20, now=now)
            theirs = rich_shop.recommend(history[:position], 20, now=now)
            assert mine.item_ids == theirs.item_ids
            assert [one.score for one in mine] == pytest.approx([one.score for one in theirs], abs=1e-5)
    assert sum(array.nbytes for array in session.state.values()) == session.state_bytes


def test_an_event_before_the_last_one_is_an_error(rich_shop: Recommender) -> None:
    session = rich_shop.session()
    session.add("p1", START_S + 5)
    session.add("p2")
    before = session.recommend(3)
    with pytest.raises(
        DataError,
        match=r"^the event of item 'p3' \(1700000004\) is earlier than the one before it; add the events of a session in ",
    ):
        session.add("p3", START_S + 4)
    assert (session.events, session.recommend(3)) == (2, before)
    with pytest.raises(DataError, match=r"^now \(2023-11-14T22:13:24\+00:00\) is before the last event"):
        session.recommend(3, now=START_S + 4)
    assert len(session.recommend(3, now=START_S + 5)) == 3


def test_an_unknown_kind_is_an_error_and_does_not_change_the_session(rich_shop: Recommender) -> None:
    session = rich_shop.session()
    with pytest.raises(DataError, match=r"^unknown kind of event 'by'; did you mean 'buy'\?$"):
        session.add("p1", kind="by")
    assert (session.events, session.skipped) == (0, 0)
