"""The position of a user in the log while events are appended."""

from dataclasses import dataclass

from reprise.server.store.records import UserEvent


@dataclass
class UserPosition:
    """Where the next event of a user goes, within one transaction."""

    uid: int
    """Row id of the user."""
    seq: int
    """The `seq` of the last event."""
    last_ms: int | None = None
    """Latest time of the last events. None: not read, which only events with an assigned time need."""

    def append(self, event: UserEvent) -> UserEvent:
        """Return an event as it is to be stored: with its `seq`, and an assigned time not before those of the last events."""
        assert event.time_ms is not None
        assert not event.time_assigned or self.last_ms is not None
        self.seq += 1
        time_ms = event.time_ms
        if self.last_ms is not None:
            self.last_ms = max(self.last_ms, time_ms)
            time_ms = self.last_ms if event.time_assigned else time_ms
        return event._replace(seq=self.seq, time_ms=time_ms, time_assigned=False)
