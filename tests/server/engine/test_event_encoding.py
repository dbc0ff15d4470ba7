"""Events become arrays in order of time."""

from pathlib import Path

import numpy as np

from reprise.recommender import Recommender
from reprise.server.engine.event_encoding import by_time, encode_events
from reprise.server.store.records import UserEvent


def test_events_without_a_time_come_last_and_equal_times_keep_their_order() -> None:
    events = [UserEvent("a"), UserEvent("b", 5), UserEvent("c"), UserEvent("d", 3), UserEvent("e", 5)]
    assert "".join(event.item_id for event in by_time(events)) == "dbeac"


def test_events_that_the_model_cannot_read_are_skipped(first_model: Path) -> None:
    """The model does not know the item of the second event and the kind of the third."""
    catalogue = Recommender.load(first_model).ranker.catalogue
    events = [
        UserEvent("p3", 1_500, "buy", 2.0),
        UserEvent("unknown item", 2_000),
        UserEvent("p4", 2_500, "sniff"),
        UserEvent("p7"),
    ]
    encoded = encode_events(events, catalogue)
    assert encoded.position_T.tolist() == [0, 3]
    assert encoded.skipped_count == 2
    assert encoded.events.item.tolist() == catalogue.indices(["p3", "p7"]).tolist()
    assert np.array_equal(encoded.events.time_s, [1.5, np.nan], equal_nan=True)
    assert np.array_equal(encoded.events.value, [2.0, np.nan], equal_nan=True)
    assert encoded.events.kind.tolist() == [catalogue.kind("buy"), catalogue.kind()]
