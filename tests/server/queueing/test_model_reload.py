"""Reloads that are requested during a swap, and models that take too long to load."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.errors import ArtefactError
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.queueing.daemon_thread import call_with_timeout
from reprise.server.settings import Settings
from reprise.server.store.sqlite import SQLiteStore


class GatedEngine(ServingEngine):
    """An engine that loads models only while a gate is open, and counts the loads."""

    def __init__(self, model: ServedModel, store: SQLiteStore) -> None:
        super().__init__(model, store)
        self.gate = threading.Event()
        self.loading = threading.Event()
        self.loads = 0

    def load_model(self, path: Path) -> ServedModel:
        self.loads += 1
        self.loading.set()
        assert self.gate.wait(30)
        return super().load_model(path)


@pytest.fixture
def engine(first_model: Path, tmp_path: Path) -> Iterator[GatedEngine]:
    model = tmp_path / "shop.model"
    model.symlink_to(first_model)
    store = SQLiteStore(tmp_path / "events.db")
    engine = GatedEngine(ServedModel.open(model, store, 2**20), store)
    yield engine
    engine.gate.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_reload_during_a_swap_reads_the_directory_again(
    engine: GatedEngine, second_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = engine.model.version

    async def run() -> None:
        service = AsyncService(engine, Settings(), PrometheusMetrics())
        service.request_reload()
        await until(engine.loading.is_set)
        link = engine.model.path
        link.unlink()
        link.symlink_to(second_model)
        for _ in range(3):  # combined to one reload
            service.request_reload()
        engine.gate.set()
        await until(lambda: engine.loads == 2)
        await until(lambda: engine.model.version != before)
        await asyncio.sleep(0.05)
        await service.close()

    with caplog.at_level("INFO"):
        asyncio.run(run())
    assert engine.loads == 2
    assert "model reload queued" in caplog.text


def test_a_reload_waits_for_a_swap_to_another_model(engine: GatedEngine, second_model: Path) -> None:
    async def run() -> None:
        service = AsyncService(engine, Settings(), PrometheusMetrics())
        swap = asyncio.create_task(service.swap_model(second_model))
        await until(engine.loading.is_set)
        service.request_reload()
        engine.gate.set()
        await swap
        await until(lambda: engine.loads == 2)
        await asyncio.sleep(0.05)
        await service.close()

    asyncio.run(run())
    assert engine.model.path == second_model.absolute()


def test_a_failed_reload_leaves_the_model_and_allows_the_next_one(engine: GatedEngine) -> None:
    before, link = engine.model, engine.model.path
    target = link.readlink()
    engine.gate.set()

    async def run() -> None:
        service = AsyncService(engine, Settings(), PrometheusMetrics())
        link.unlink()
        service.request_reload()
        await until(lambda: 'result="failed"} 1.0' in service.metrics.render().decode())
        assert engine.model is before
        link.symlink_to(target)
        service.request_reload()
        await until(lambda: engine.model is not before)
        await service.close()

    asyncio.run(run())


def test_a_model_that_hangs_is_given_up_after_the_time_limit(engine: GatedEngine) -> None:
    before = engine.model

    async def run() -> None:
        service = AsyncService(engine, replace(Settings(), model_timeout_s=0.05), PrometheusMetrics())
        with pytest.raises(
            ArtefactError, match=r"was not loaded within 0\.05 s; check the disk .* --model-timeout$"
        ):
            await service.swap_model()
        # the load ends later; its model must not be served
        engine.gate.set()
        await asyncio.sleep(0.1)
        assert engine.model is before
        service.settings = Settings()
        await service.swap_model()
        assert engine.model is not before
        await service.close()

    asyncio.run(run())


def test_a_timed_call_returns_the_result_or_raises_the_exception() -> None:
    def fail() -> None:
        raise ValueError("no")

    assert asyncio.run(call_with_timeout(lambda: 3, 5)) == 3
    with pytest.raises(ValueError, match="no"):
        asyncio.run(call_with_timeout(fail, 5))
