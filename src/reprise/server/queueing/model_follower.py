"""Following a model store: the server serves its current version."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from reprise.errors import ArtefactError, ConfigError
from reprise.model_store.model_store import ModelStore
from reprise.model_store.model_version import ModelVersion
from reprise.server.json_logging import log_event
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.daemon_thread import call_with_timeout

INTERVAL_S = 1.0
"""Seconds between two reads of the current version."""
READ_TIMEOUT_S = 30.0
"""Maximum time to read the current version, in seconds. A disk may hang."""
RETRY_S = 60.0
"""Seconds until a version that could not be served is tried again."""


class ModelFollower:
    """Serves the current version of a model store, whenever it changes.

    A version that is damaged, or fails its self-check, is refused: the server continues with the model it has.

    Args:
        store: The model store.
        served: Version that is served now.
        swap: Function that loads a model directory and serves it.
        metrics: Metrics of the server. They report the numbers of the served version and of the current one.
    """

    def __init__(
        self,
        store: ModelStore,
        served: ModelVersion,
        swap: Callable[[Path], Awaitable[str]],
        metrics: PrometheusMetrics,
    ) -> None:
        self.store = store
        self.served = self.current = served.name
        self._swap = swap
        self._retry_s: dict[str, float] = {}
        """Time of the next attempt to serve a refused version, in seconds of the monotonic clock."""
        metrics.add_gauge(
            "reprise_model_store_served",
            "Number of the version of the model store that is served.",
            lambda: int(self.served),
        )
        metrics.add_gauge(
            "reprise_model_store_current",
            "Number of the current version of the model store. If it differs from the served one, it was refused.",
            lambda: int(self.current),
        )

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Follow the store until the task is cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.follow()
            except (
                Exception
            ) as error:  # the store may be unreadable for a while; the model that is served stays
                log_event("model store not read", store=str(self.store.path), error=str(error))

    async def follow(self) -> None:
        """Serve the current version if it is another one than before.

        Raises:
            ArtefactError: the store cannot be read.
            TimeoutError: the store was not read within `READ_TIMEOUT_S`.
        """
        version = await call_with_timeout(self.store.current, READ_TIMEOUT_S)
        if version is None:
            return
        self.current = version.name
        if version.name == self.served or time.monotonic() < self._retry_s.get(version.name, 0.0):
            return
        try:
            await call_with_timeout(version.check, READ_TIMEOUT_S)
            await self._swap(version.model)
        except Exception as error:  # the swap has logged and counted it
            self._retry_s[version.name] = time.monotonic() + RETRY_S
            log_event(
                "version refused", store=str(self.store.path), version=version.name, served=self.served, error=str(error)
            )  # fmt: skip
            return
        self._retry_s.clear()
        self.served = version.name
        log_event("version served", store=str(self.store.path), version=version.name)


def usable_versions(store: ModelStore) -> list[ModelVersion]:
    """Return the current version and the ones before it, the latest first, without damaged ones.

    Raises:
        ConfigError: no version was promoted yet.
        ArtefactError: all of them are damaged.
    """
    current = store.current()
    if current is None:
        raise ConfigError(
            f"{store.path} has no current version; choose one with `reprise models promote {store.path} VERSION`"
        )
    found, faults = [], []
    for name in (current.name, *store.earlier()):
        try:
            version = store.version(name)
            version.check()
            found.append(version)
        except ArtefactError as error:
            faults.append(str(error))
    if not found:
        raise ArtefactError(faults[0])
    return found
