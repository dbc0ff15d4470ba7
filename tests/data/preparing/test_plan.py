"""Options that make no sense are refused before anything is read."""

import pytest

from reprise.data.preparing.plan import PrepareOptions
from reprise.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duplicates": "merge"}, "duplicates='merge': choose 'drop' or 'keep'"),
        ({"sequence_by": "item"}, "sequence_by='item': choose 'user' or 'session'"),
        ({"min_item_events": 0}, "min_item_events=0: give 1 or more"),
        (
            {"session_gap": "soon"},
            "'soon' is not a duration; write a number and one of ms, s, min, h, d, w, such as '7d'",
        ),
        (
            {"session_gap": "1h", "sequence_by": "user"},
            "session_gap cuts users into sessions; leave sequence_by='user' out",
        ),
        (
            {"session_gap": 1800},
            "1800 is not a duration; write a number and one of ms, s, min, h, d, w, such as '7d'",
        ),
        ({"min_item_events": "5"}, "min_item_events='5' is no integer; give 1 or more"),
        ({"min_item_event": 5}, "unknown option 'min_item_event'; did you mean 'min_item_events'?"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PrepareOptions.of(options)
    assert str(caught.value) == message


def test_nothing_is_dropped_that_has_a_next_event_unless_asked_for() -> None:
    options = PrepareOptions()
    assert (options.min_item_events, options.min_sequence_events) == (1, 2)
