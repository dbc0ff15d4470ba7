import pytest
from rich_model import START_S, random_history

from reprise.errors import ConfigError, DataError
from reprise.recommender import Recommender


def test_a_session_answers_as_the_whole_history_does(shop: Recommender) -> None:
    visit, history = shop.session(remember_seen=True), []
    for item in ["p3", "unknown", "p3", "p7", "new", "p1"]:
        visit.add(item)
        history.append(item)
        mine = visit.recommend(5, deny=["p2"], exclude_seen=True)
        theirs = shop.recommend(history, 5, deny=["p2"], exclude_seen=True)
        assert mine.item_ids == theirs.item_ids
        assert [one.score for one in mine] == pytest.approx([one.score for one in theirs], abs=1e-6)
        assert mine.skipped == theirs.skipped
    assert (visit.events, visit.skipped) == (4, 2)


def test_a_new_session_answers_what_is_popular(shop: Recommender) -> None:
    assert shop.session().recommend(3) == shop.recommend([], 3)


def test_the_state_does_not_grow(shop: Recommender) -> None:
    visit = shop.session()
    sizes = []
    for _ in range(20):
        visit.add("p1")
        sizes.append(sum(array.nbytes for array in visit.state.values()))
    assert set(sizes) == {visit.state_bytes}


def test_two_sessions_do_not_see_each_other(shop: Recommender) -> None:
    one, other = shop.session(), shop.session()
    one.add("p1")
    before = one.recommend(5)
    other.add("p2")
    assert one.recommend(5) == before


def test_what_was_seen_can_only_be_excluded_where_it_is_remembered(shop: Recommender) -> None:
    visit = shop.session()
    visit.add("p1")
    with pytest.raises(
        ConfigError,
        match=r"^this session keeps no history, so it cannot exclude what was seen; open it with ",
    ):
        visit.recommend(3, exclude_seen=True)


def test_an_id_of_the_wrong_type_is_an_error_and_changes_nothing(shop: Recommender) -> None:
    visit = shop.session()
    with pytest.raises(DataError, match=r"^item id 3 is of type int"):
        visit.add(3)
    assert (visit.events, visit.skipped) == (0, 0)


def test_a_session_reads_times_kinds_and_values_as_a_history_does(rich_shop: Recommender) -> None:
    visit, history = rich_shop.session(), random_history(7, 12)
    for position, event in enumerate(history, start=1):
        visit.add(**event)
        for now in (None, START_S + 1e8):
            mine = visit.recommend(20, now=now)
            theirs = rich_shop.recommend(history[:position], 20, now=now)
            assert mine.item_ids == theirs.item_ids
            assert [one.score for one in mine] == pytest.approx([one.score for one in theirs], abs=1e-5)
    assert sum(array.nbytes for array in visit.state.values()) == visit.state_bytes


def test_times_of_a_session_do_not_go_back(rich_shop: Recommender) -> None:
    visit = rich_shop.session()
    visit.add("p1", START_S + 5)
    visit.add("p2")
    before = visit.recommend(3)
    with pytest.raises(
        DataError,
        match=r"^the event of item 'p3' \(1700000004\) is earlier than the one before it; add the events of a session in ",
    ):
        visit.add("p3", START_S + 4)
    assert (visit.events, visit.recommend(3)) == (2, before)
    with pytest.raises(DataError, match=r"^now \(2023-11-14T22:13:24\+00:00\) is before the last event"):
        visit.recommend(3, now=START_S + 4)
    assert len(visit.recommend(3, now=START_S + 5)) == 3


def test_an_unknown_kind_changes_no_session(rich_shop: Recommender) -> None:
    visit = rich_shop.session()
    with pytest.raises(DataError, match=r"^unknown kind of event 'by'; did you mean 'buy'\?$"):
        visit.add("p1", kind="by")
    assert (visit.events, visit.skipped) == (0, 0)
