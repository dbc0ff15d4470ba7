"""Invalid options are refused before any row is read."""

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
            "session_gap divides users into sessions; omit sequence_by='user'",
        ),
        (
            {"session_gap": 1800},
            "1800 is not a duration; write a number and one of ms, s, min, h, d, w, such as '7d'",
        ),
        ({"min_item_events": "5"}, "min_item_events='5' is not an integer; give 1 or more"),
        ({"min_item_event": 5}, "unknown option 'min_item_event'; did you mean 'min_item_events'?"),
    ],
)
def test_invalid_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PrepareOptions.from_keywords(options)
    assert str(caught.value) == message


def test_by_default_only_sequences_of_one_event_are_dropped() -> None:
    options = PrepareOptions()
    assert (options.min_item_events, options.min_sequence_events) == (1, 2)
