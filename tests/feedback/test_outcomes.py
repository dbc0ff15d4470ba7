"""Which events follow from which impressions."""

from collections.abc import Callable

import pytest

from reprise.errors import ConfigError
from reprise.feedback import match_responses
from reprise.server import Answer, Response

START_MS, HOUR_MS = 1_700_000_000_000, 3_600_000
Make = Callable[..., Answer]
Respond = Callable[..., Response]


def test_an_event_follows_from_the_answer_that_it_names(answers: Make, responses: Respond) -> None:
    shown = [answers("r1", "anna", "ab"), answers("r2", "bert", "bc")]
    events = [responses("r2", "bert", "c"), responses("r1", "anna", "a", kind="buy")]
    found = match_responses(shown, events)
    assert found.items() == ["a", "b", "b", "c"]
    assert found.position_N.tolist() == [1, 2, 1, 2] and found.user_N.tolist() == [0, 0, 1, 1]
    assert found.kinds == ("buy", "event")
    assert found.responded().tolist() == [True, False, False, True]
    assert found.responded("buy").tolist() == [True, False, False, False]
    assert not found.responded("other").any() and found.unmatched == 0


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"recommendation_id": "other"}, False),
        ({"item_id": "z"}, False),
        ({"user_hash": "bert"}, False),
        ({"time_ms": START_MS + HOUR_MS}, True),
        ({"time_ms": START_MS + HOUR_MS + 1}, False),
        ({"time_ms": START_MS - 60_000}, True),
        ({"time_ms": START_MS - 60_001}, False),
    ],
)
def test_item_user_id_and_window_must_agree(
    answers: Make, responses: Respond, change: dict[str, object], counts: bool
) -> None:
    event = responses("r1", "anna", "a")._replace(**change)
    found = match_responses([answers("r1", "anna", "ab")], [event], HOUR_MS)
    assert found.responded().tolist() == [counts, False] and found.unmatched == (not counts)


def test_a_repeated_event_counts_once(answers: Make, responses: Respond) -> None:
    found = match_responses([answers("r1", "anna", "a")], [responses("r1", "anna", "a")] * 3)
    assert found.response_NK.tolist() == [[True]]


def test_events_without_an_id_follow_from_the_latest_answer_only_if_asked(
    answers: Make, responses: Respond
) -> None:
    shown = [answers("r1", "anna", "ab"), answers("r2", "anna", "ca", START_MS + 500), answers("r3", "", "a")]
    event = responses("", "anna", "a")
    assert not match_responses(shown, [event]).responded().any()
    by_item = match_responses(shown, [event], by_item=True)
    assert by_item.responded().tolist() == [False, False, False, True, False]
    named = responses("r1", "anna", "c")  # names an answer that did not show the item
    assert match_responses(shown, [named], by_item=True).unmatched == 1


def test_an_answer_without_a_user_is_a_user_of_its_own(answers: Make) -> None:
    found = match_responses([answers("r1", "", "a"), answers("r2", "", "a"), answers("r3", "x", "a")], [])
    assert found.user_N.tolist() == [0, 1, 2]


def test_an_empty_log_has_no_impressions() -> None:
    found = match_responses([], [])
    assert found.items() == [] and found.groups("model") == {}


def test_the_window_is_checked() -> None:
    with pytest.raises(ConfigError, match="window_ms"):
        match_responses([], [], 0)
