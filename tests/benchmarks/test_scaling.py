"""The page about scaling has the figures that its script computes, and the simulation follows queueing theory."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
NAMES = ("scaling", "capacity_plan", "queue_simulation")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Import the modules as the script does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    for name in NAMES:
        del sys.modules[name]


@pytest.fixture
def scaling(modules: SimpleNamespace) -> ModuleType:
    module: ModuleType = modules.scaling
    return module


def test_the_page_has_the_figures_of_the_script(scaling: ModuleType) -> None:
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert page == scaling.with_blocks(page, scaling.stored()), "run `python benchmarks/scaling.py page`"


def test_the_stored_latencies_are_those_of_the_simulation(modules: SimpleNamespace) -> None:
    scaling = modules.scaling
    known = scaling.stored()
    assert [row["busy"] for row in known["simulation"]] == list(scaling.LOADS)
    for row in known["simulation"]:
        assert row["servers"] == scaling.servers_at(row["busy"], known["costs"])
    # fewer requests than those of the page, so the medians are close and the p99 are not
    few = modules.queue_simulation.simulate(
        scaling.service_s(known["costs"]), scaling.RATE, row["servers"], "least connections", 3_000
    )
    assert few.median_ms == pytest.approx(row["least connections"][0], rel=0.2)


def test_costs_are_unit_costs_times_numbers(modules: SimpleNamespace) -> None:
    costs = {
        "prepare_us_an_event": 2.0,
        "dataset_bytes_an_event": 17.0,
        "dataset_bytes_a_user": 40.0,
        "dataset_bytes_an_item": 10.0,
        "train_us_an_event_at_width_128": 100.0,
        "event_server_us": 1_000.0,
        "recommendation_server_us": 2_000.0,
        "search_ns_an_item_in_batches_of_1": 5.0,
        "event_database_us": 600.0,
        "recommendation_database_us": 200.0,
    }
    size = modules.capacity_plan.Size(events=3.6e9, users=1e6, items=200_000, requests_per_s=6_000)
    plan = modules.capacity_plan.Plan(size, costs)
    assert plan.prepare_core_h == pytest.approx(3.6e9 * 2e-6 / 3600)
    assert plan.dataset_bytes == pytest.approx(3.6e9 * 17 + 1e6 * 40 + 200_000 * 10)
    assert plan.night_events == pytest.approx(12 * 3600 / 100e-6)
    # 100,000 items more than in the measurement
    request_s = (1_000 + 2_000 + 100_000 * 0.005) / 2 * 1e-6
    assert plan.request_s == pytest.approx(request_s)
    assert plan.servers == int(np.ceil(6_000 * request_s / 0.6))
    assert plan.database_cores == pytest.approx(6_000 * 400e-6 / 0.6)


def test_two_servers_are_the_minimum(modules: SimpleNamespace) -> None:
    costs = modules.scaling.stored()["costs"]
    assert modules.capacity_plan.Plan(modules.capacity_plan.Size(1e6, 1e4, 1e4, 1), costs).servers == 2


@pytest.mark.parametrize("routing", ["random", "least connections"])
def test_one_server_with_exponential_service_times_follows_the_formula(
    modules: SimpleNamespace, routing: str
) -> None:
    """The latency of M/M/1 is exponential: its median is log(2) / (service rate - arrival rate)."""
    quantiles = (np.arange(2_000) + 0.5) / 2_000
    service_s = -np.log(1 - quantiles) / 100
    found = modules.queue_simulation.simulate(service_s.tolist(), 50, 1, routing, requests=10_000)
    assert found.median_ms == pytest.approx(1000 * np.log(2) / (100 - 50), rel=0.1)
    assert found.p99_ms == pytest.approx(1000 * np.log(100) / (100 - 50), rel=0.2)


def test_a_proxy_that_knows_the_servers_has_the_shorter_queues(modules: SimpleNamespace) -> None:
    simulate = modules.queue_simulation.simulate
    random, least = (
        simulate([0.001, 0.003], 4_000, 10, routing, 2_000) for routing in ("random", "least connections")
    )
    assert least.p99_ms < random.p99_ms / 2


def test_too_few_servers_are_reported(modules: SimpleNamespace) -> None:
    with pytest.raises(
        ValueError, match=r"2 servers are busy for 1\.50 of the time; simulate more than 3\.0"
    ):
        modules.queue_simulation.simulate([0.003], 1_000, 2, "random", 1_000)


def test_numbers_have_two_significant_digits(scaling: ModuleType) -> None:
    assert [scaling.amount(value) for value in (0.0123, 1.25, 17.0, 1234.0, 0)] == [
        "0.012",
        "1.2",
        "17",
        "1,200",
        "0",
    ]
    assert scaling.size_of(1.7e12) == "1.7 TB" and scaling.size_of(5_000) == "5.0 KB"
