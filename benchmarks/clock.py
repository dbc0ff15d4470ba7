"""A clock of processor time that stops during evaluation and calls back at the times of measurement."""

import time
from collections.abc import Callable


class Clock:
    """Processor seconds that this process spends on training, over all threads.

    Args:
        seconds: When to stop.
        times: Processor seconds at which to call `on_time`; the end is always one of them.
        warmup: Seconds from the start that `events_per_s` leaves out.
        on_time: Called with this clock, which is stopped during the call.
    """

    def __init__(
        self, seconds: float, times: list[float], warmup: float, on_time: Callable[["Clock"], None]
    ) -> None:
        self.limit_s, self.warmup_s, self.on_time = seconds, warmup, on_time
        self.times = sorted(time_s for time_s in times if time_s < seconds)
        self.seconds, self.events = 0.0, 0
        self.time_s = 0.0
        self.running = False
        self._seen = 0.0
        self._warm: tuple[float, int] | None = None

    def start(self) -> None:
        """Start counting time."""
        self._seen, self.running = time.process_time(), True

    def tick(self, events: int) -> bool:
        """Count trained events. Return whether the time is up; the last measurement has then been made."""
        self._advance()
        self.events += events
        if self._warm is None and self.seconds >= self.warmup_s:
            self._warm = (self.seconds, self.events)
        if self.seconds >= self.limit_s:
            self.finish()
        elif self.times and self.seconds >= self.times[0]:
            # one long step may pass several measurement times; it is measured once
            self.time_s = max(time_s for time_s in self.times if time_s <= self.seconds)
            self.times = [time_s for time_s in self.times if time_s > self.seconds]
            self.on_time(self)
            self.start()
        return not self.running

    def finish(self) -> None:
        """End the training, at the limit or because it is complete."""
        if self.running:
            self._advance()
            self.running = False
            # the last step rarely ends exactly in time; runs of equal length should name their end alike
            self.time_s = min(self.seconds, self.limit_s)
            self.on_time(self)

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
