"""Measure event-loop lag: the time a ready callback waits before the event loop runs it."""

import asyncio

INTERVAL_S = 0.02
"""Seconds between measurements."""


class EventLoopLagMonitor:
    """A task that sleeps for a fixed interval and measures how late it wakes up.

    Requests wait in the event loop too, before any queue can accept or refuse them. So under overload the lag grows first.
    """

    def __init__(self) -> None:
        self._last_lags_s = (0.0, 0.0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start measuring on the running event loop."""
        self._task = asyncio.create_task(self._measure())

    def stop(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()

    @property
    def lag_s(self) -> float:
        """Current lag in seconds: the smaller of the last two measurements, so that a single pause does not count."""
        return min(self._last_lags_s)

    async def _measure(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due_s = clock() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            self._last_lags_s = self._last_lags_s[1], clock() - due_s
