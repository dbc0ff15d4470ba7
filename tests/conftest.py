"""What holds for every test."""

import os
from collections.abc import Generator
from typing import Any

import pytest

# first of all: it keeps the threads of torch from spinning, which must be said before torch is imported
import reprise  # noqa: F401


def _fail_if_skipped(report: Any) -> Any:
    """Under CI nothing is missing, so a test that skips itself hides something."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped under CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))
