"""Settings for all tests."""

import os
from collections.abc import Generator
from typing import Any

import pytest

# first, because it sets OMP_WAIT_POLICY, which torch reads when it is imported
import reprise  # noqa: F401


def _fail_if_skipped(report: Any) -> Any:
    """Fail a skipped test under CI, where nothing that a test needs may be missing."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped under CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))
