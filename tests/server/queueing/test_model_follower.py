"""Following a model store: promoted versions are served, and damaged ones are refused."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.errors import ArtefactError, ConfigError
from reprise.model_store import ModelStore
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.queueing.model_follower import ModelFollower, usable_versions
from reprise.server.settings import Settings
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.server_process import ServerProcess


@pytest.fixture
def models(first_model: Path, second_model: Path, tmp_path: Path) -> ModelStore:
    """A model store whose version 1 is current; version 2 is another model."""
    store = ModelStore(tmp_path / "models")
    store.publish(first_model, promote=True)
    store.publish(second_model)
    return store


@pytest.fixture
def engine(models: ModelStore, tmp_path: Path) -> Iterator[ServingEngine]:
    log = SQLiteStore(tmp_path / "events.db")
    yield ServingEngine(ServedModel.open(models.version(1).model, log, 2**20), log)
    log.close()


def test_a_promoted_version_is_served_and_a_rollback_too(models: ModelStore, engine: ServingEngine) -> None:
    first = engine.model.version

    async def run() -> None:
        service = AsyncService(engine, Settings(), PrometheusMetrics())
        follower = ModelFollower(models, models.version(1), service.swap_model, service.metrics)
        await follower.follow()
        assert engine.model.version == first
        models.promote(2)
        await follower.follow()
        assert (engine.model.version != first, follower.served) == (True, "2")
        models.rollback()
        await follower.follow()
        assert (engine.model.version, follower.served) == (first, "1")
        assert 'result="succeeded"} 2.0' in service.metrics.render().decode()

    asyncio.run(run())


def test_a_damaged_version_is_refused_once_and_the_model_stays(
    models: ModelStore, engine: ServingEngine, caplog: pytest.LogCaptureFixture
) -> None:
    first = engine.model.version
    models.promote(2)
    vectors = models.version(2).model / "vectors.safetensors"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-1])

    async def run() -> None:
        service = AsyncService(engine, Settings(), PrometheusMetrics())
        follower = ModelFollower(models, models.version(1), service.swap_model, service.metrics)
        for _ in range(3):
            await follower.follow()
        metrics = service.metrics.render().decode()
        assert (engine.model.version, 'result="failed"} 1.0' in metrics) == (first, True)
        assert "reprise_model_store_served 1.0" in metrics
        assert "reprise_model_store_current 2.0" in metrics
        # the fault is corrected, and the time of the next attempt has come
        vectors.write_bytes(whole)
        follower._retry_s.update({"2": 0.0})
        await follower.follow()
        assert follower.served == "2"

    asyncio.run(run())


def test_an_unreadable_store_does_not_end_the_task(models: ModelStore, engine: ServingEngine) -> None:
    async def run() -> None:
        service = AsyncService(engine, Settings(), PrometheusMetrics())
        follower = ModelFollower(models, models.version(1), service.swap_model, service.metrics)
        current = (models.path / "current.json").read_text()
        (models.path / "current.json").write_text("")
        with pytest.raises(ArtefactError):
            await follower.follow()
        task = asyncio.create_task(follower.run(interval_s=0.001))
        await asyncio.sleep(0.05)
        assert not task.done()
        (models.path / "current.json").write_text(current)
        models.promote(2)
        async with asyncio.timeout(30):
            while follower.served != "2":
                await asyncio.sleep(0.005)
        task.cancel()

    asyncio.run(run())


def test_a_start_needs_a_usable_version(models: ModelStore, first_model: Path, tmp_path: Path) -> None:
    models.promote(2)
    assert [version.name for version in usable_versions(models)] == ["2", "1"]
    (models.version(2).model / "manifest.json").unlink()
    assert [version.name for version in usable_versions(models)] == ["1"]
    (models.version(1).model / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match=r"version 2 .* is damaged"):
        usable_versions(models)
    empty = ModelStore(tmp_path / "other")
    empty.publish(first_model)
    with pytest.raises(ConfigError, match="has no current version; choose one with `reprise models promote"):
        usable_versions(empty)


def test_a_server_follows_its_store_and_starts_with_the_version_before_a_damaged_one(
    models: ModelStore, tmp_path: Path
) -> None:
    (models.version(2).model / "query.onnx").write_bytes(b"")
    models.promote(2)
    with ServerProcess(models.path, f"sqlite:///{tmp_path}/events.db", tmp_path / "log") as server:
        first = server.wait_ready().request("GET", "/v1/model").body["model_version"]
        assert '"event": "version refused"' in server.output().replace('":"', '": "')
        models.publish(models.version(1).model)
        models.promote(3)
        for _ in range(200):
            if '"version served"' in server.output():
                break
            server.request("GET", "/healthz")
            time.sleep(0.05)
        assert '"version served"' in server.output()
        assert server.request("GET", "/v1/model").body["model_version"] == first
        assert server.stop() == 0
