"""What may be asked of `prepare` besides the split."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from reprise.data.io.times import parse_duration
from reprise.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class PrepareOptions:
    """What is done to a log before it is split. Counts are over the whole log, as published protocols count."""

    sequence_by: Literal["user", "session"] | None = None
    """Whose events are a sequence; None: the user's, or the session's where there is no user column or a gap is given."""
    session_gap: str | None = None
    """Cut the events of a user into sessions at pauses longer than this, such as `30min`."""
    min_item_events: int = 1
    """Items with fewer events are dropped."""
    min_sequence_events: int = 2
    """Sequences with fewer events are dropped; both are repeated until nothing more goes."""
    duplicates: Literal["drop", "keep"] = "drop"
    """What happens to the second of two events with the same sequence, item, time and kind."""

    def __post_init__(self) -> None:
        if self.sequence_by not in (None, "user", "session"):
            raise ConfigError(f"sequence_by={self.sequence_by!r}: choose 'user' or 'session'")
        if self.duplicates not in ("drop", "keep"):
            raise ConfigError(f"duplicates={self.duplicates!r}: choose 'drop' or 'keep'")
        if self.session_gap is not None:
            parse_duration(self.session_gap)
            if self.sequence_by == "user":
                raise ConfigError("session_gap cuts users into sessions; leave sequence_by='user' out")
        for name in ("min_item_events", "min_sequence_events"):
            least = getattr(self, name)
            if not isinstance(least, int):
                raise ConfigError(f"{name}={least!r} is no integer; give 1 or more")
            if least < 1:
                raise ConfigError(f"{name}={least}: give 1 or more")

    @classmethod
    def of(cls, options: dict[str, Any]) -> "PrepareOptions":
        """From keywords.

        Raises:
            ConfigError: One is unknown, or its value impossible.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}{did_you_mean(name, known)}")
        return cls(**options)
