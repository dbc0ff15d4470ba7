"""What a process takes while it is under load: memory now and then, and processor seconds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil

MIB = 2**20


class Watch:
    """Of one process."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._start_s = time.monotonic()
        self.rss: list[tuple[float, float]] = []
        """Seconds since the beginning, and MiB."""

    def cpu_s(self) -> float:
        """Processor seconds up to now, of all threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def look(self) -> None:
        """Keep what the memory is now, in MiB."""
        rss = self._process.memory_info().rss / MIB
        self.rss.append((round(time.monotonic() - self._start_s, 1), round(rss, 1)))

    @asynccontextmanager
    async def kept(self, every_s: float) -> AsyncIterator[None]:
        """Look at the beginning, at the end, and now and then between."""
        self.look()
        task = asyncio.ensure_future(self._follow(every_s))
        try:
            yield
        finally:
            task.cancel()
            self.look()

    async def _follow(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.look()

    def told(self) -> dict[str, Any]:
        """The memory over time, and how fast it grew in the second half, when caches are full."""
        half = self.rss[len(self.rss) // 2 :]
        minutes = (half[-1][0] - half[0][0]) / 60
        return {
            "first": self.rss[0][1],
            "last": self.rss[-1][1],
            "most": max(rss for _, rss in self.rss),
            "growth a minute in the second half": round((half[-1][1] - half[0][1]) / minutes, 2)
            if minutes
            else 0.0,
            "by second": self.rss,
        }
