"""A clock of processor time that stands still while somebody measures, and says when a moment to measure has come."""

import time
from collections.abc import Callable


class Clock:
    """Processor seconds of this process spent on training, all threads together.

    Args:
        seconds: When to stop.
        moments: When to call `at_moment`; the end is always one more.
        warmup: Seconds from the start that `events_per_s` leaves out.
        at_moment: Called with this clock, which stands still meanwhile.
    """

    def __init__(
        self, seconds: float, moments: list[float], warmup: float, at_moment: Callable[["Clock"], None]
    ) -> None:
        self.limit_s, self.warmup_s, self.at_moment = seconds, warmup, at_moment
        self.moments = sorted(moment for moment in moments if moment < seconds)
        self.seconds, self.events = 0.0, 0
        self.moment = 0.0
        self._running = False
        self._seen = 0.0
        self._warm: tuple[float, int] | None = None

    def start(self) -> None:
        """From now on time counts."""
        self._seen, self._running = time.process_time(), True

    def tick(self, events: int) -> bool:
        """So many more events were learned. Whether the time is up; then the last moment has been measured."""
        self._advance()
        self.events += events
        if self._warm is None and self.seconds >= self.warmup_s:
            self._warm = (self.seconds, self.events)
        if self.seconds >= self.limit_s:
            self.finish()
        elif self.moments and self.seconds >= self.moments[0]:
            # one long step may pass several moments; it is measured once
            self.moment = max(moment for moment in self.moments if moment <= self.seconds)
            self.moments = [moment for moment in self.moments if moment > self.seconds]
            self.at_moment(self)
            self.start()
        return not self._running

    def finish(self) -> None:
        """The end, by the limit or because there is nothing more to learn."""
        if self._running:
            self._advance()
            self._running = False
            # a last step is seldom over just in time; two runs of one length have one name for their end
            self.moment = min(self.seconds, self.limit_s)
            self.at_moment(self)

    @property
    def events_per_s(self) -> float | None:
        """Events a second after the warm-up; None before there are any."""
        if self._warm is None or self.events == self._warm[1]:
            return None
        return (self.events - self._warm[1]) / (self.seconds - self._warm[0])

    def _advance(self) -> None:
        now = time.process_time()
        self.seconds += now - self._seen
        self._seen = now
