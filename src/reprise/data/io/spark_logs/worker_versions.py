"""Versions of libraries on the workers of Spark, which must be those of the driver."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from reprise.errors import ConfigError


@cache
def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    """Return the version of each library in this process, or `not installed`."""
    return {library: _version(library) for library in libraries}


def check_versions(driver: Mapping[str, str]) -> None:
    """Check that this process, a worker, has the versions of the driver: others may give other results.

    Args:
        driver: Version of each library in the driver.

    Raises:
        ConfigError: A version differs.
    """
    worker = versions_of(driver)
    different = [name for name in driver if driver[name] != worker[name]]
    if different:
        on_worker = " and ".join(f"{name} {worker[name]}" for name in different)
        on_driver = " and ".join(f"{name} {driver[name]}" for name in different)
        raise ConfigError(
            f"a worker of Spark has {on_worker}, but the driver has {on_driver}; install the same versions on all machines"
        )
