"""Settings for all tests."""

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

# first, because it sets OMP_WAIT_POLICY, which torch reads when it is imported
import reprise  # noqa: F401


def _fail_if_skipped(report: Any) -> Any:
    """Fail a skipped test under CI, where nothing that a test needs may be missing."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped under CI: {report.longrepr}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all tests of a file, so that fixtures of a module are made once; and one all tests of Spark."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A Spark session on two threads, whose shuffles have three partitions.

    Mark the tests that use it with `pytest.mark.xdist_group("spark")`, so that one worker runs them all and starts Java.
    """
    from reprise.data.io.spark_session import open_session

    session = open_session("local[2]")
    session.conf.set("spark.sql.shuffle.partitions", "3")
    session.conf.set(
        "spark.sql.adaptive.coalescePartitions.enabled", "false"
    )  # which would join small partitions
    yield session
    session.stop()
