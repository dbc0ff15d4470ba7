"""How far an event loop is behind: what is asked waits there before it can be let in or refused at all."""

import asyncio

EVERY_S = 0.02


class EventLoopLagMonitor:
    """A task that is due again and again; how late it is, so late is everything else.

    It counts what was late twice in a row: a machine that stood still once is not behind with its work.
    """

    def __init__(self) -> None:
        self._lates_s = (0.0, 0.0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to beat, on the running loop."""
        self._task = asyncio.create_task(self._beat())

    def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()

    @property
    def late_s(self) -> float:
        """How late the last beats were."""
        return min(self._lates_s)

    async def _beat(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due_s = clock() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self._lates_s = self._lates_s[1], clock() - due_s
