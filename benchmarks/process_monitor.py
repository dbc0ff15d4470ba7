"""Resource use of a process under load: memory over time and processor seconds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil

MIB = 2**20


class Watch:
    """Measurements of one process."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._start_s = time.monotonic()
        self.rss: list[tuple[float, float]] = []
        """Seconds since the beginning, and MiB."""

    def cpu_s(self) -> float:
        """Return processor seconds so far, over all threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def sample(self) -> None:
        """Record the current memory in MiB."""
        rss = self._process.memory_info().rss / MIB
        self.rss.append((round(time.monotonic() - self._start_s, 1), round(rss, 1)))

    @asynccontextmanager
    async def sampling(self, every_s: float) -> AsyncIterator[None]:
        """Record the memory at the start, at the end, and at intervals."""
        self.sample()
        task = asyncio.ensure_future(self._follow(every_s))
        try:
            yield
        finally:
            task.cancel()
            self.sample()

    async def _follow(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.sample()

    def summary(self) -> dict[str, Any]:
        """Return the memory over time, and its growth in the second half, when caches are full."""
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
