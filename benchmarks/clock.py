"""A clock of processor time that stops during evaluation and calls back at the times of measurement."""

import time
from collections.abc import Callable


class Clock:
    """Processor seconds that this process spends on training, over all threads.

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
        """Start counting time."""
        self._seen, self._running = time.process_time(), True

    def tick(self, events: int) -> bool:
        """Count trained events. Return whether the time is up; the last measurement has then been made."""
        self._advance()
        self.events += events
        if self._warm is None and self.seconds >= self.warmup_s:
            self._warm = (self.seconds, self.events)
        if self.seconds >= self.limit_s:
            self.finish()
        elif self.moments and self.seconds >= self.moments[0]:
            # one long step may pass several measurement times; it is measured once
            self.moment = max(moment for moment in self.moments if moment <= self.seconds)
            self.moments = [moment for moment in self.moments if moment > self.seconds]
            self.at_moment(self)
            self.start()
        return not self._running

    def finish(self) -> None:
        """End the training, at the limit or because it is complete."""
        if self._running:
            self._advance()
            self._running = False
            # the last step rarely ends exactly in time; runs of equal length should name their end alike
            self.moment = min(self.seconds, self.limit_s)
            self.at_moment(self)

    @property
    def events_per_s(self) -> float | None:
        """Training events per second after the warm-up; None before there are any."""
        if self._warm is None or self.events == self._warm[1]:
            return None
        return (self.events - self._warm[1]) / (self.seconds - self._warm[0])

    def _advance(self) -> None:
        now = time.process_time()
        self.seconds += now - self._seen
        self._seen = now
