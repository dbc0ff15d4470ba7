"""Errors of Spark as errors of Reprise: one message without the stack traces of Java and of the workers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from reprise import errors
from reprise.errors import ConfigError, DataError, RepriseError

RAISED_BY_WORKER = re.compile(r"^(?:.*\s)?reprise\.errors\.(\w+): (.*)$", re.MULTILINE)
NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
NO_FORMAT = ("DATA_SOURCE_NOT_FOUND", "FAILED_TO_FIND_DATA_SOURCE")
LAST_LINE = re.compile(r"^(\w[\w.]*(?:Error|Exception)): (.*)$", re.MULTILINE)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise errors of Spark in the block as errors of Reprise, each with one plain message.

    An error that a worker raised keeps its type and its message. The original error is the cause.

    Raises:
        DataError: Spark cannot read the events, or stopped.
        ConfigError: The workers lack a library, or Spark lacks a format.
    """
    # optional dependencies
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, ConnectionError) as error:
        raise plain_error(error) from error


def plain_error(error: Exception) -> RepriseError:
    """Return the error of Reprise for an error of Spark."""
    text = str(error)
    for name, message in reversed(RAISED_BY_WORKER.findall(text)):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, RepriseError):
            return kind(message)
    missing = NO_MODULE.search(text)
    if missing:
        return ConfigError(
            f"the workers of Spark have no Python package {missing[1]!r}; install reprise[spark] in their Python "
            "(PYSPARK_PYTHON)"
        )
    if any(name in text for name in NO_FORMAT):
        return ConfigError(
            f"{_first_line(text)}; add its package to Spark (spark.jars.packages), or use another format"
        )
    if "Traceback (most recent call last)" in text and (raised := LAST_LINE.findall(text)):
        name, message = raised[-1]
        return DataError(f"a worker of Spark stopped: {name}: {message}")
    return DataError(f"Spark stopped: {_first_line(text) or type(error).__name__}")


def _first_line(text: str) -> str:
    """Return the first line of a message without the error class in brackets and without the name of a Java class."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if not line.startswith("An error occurred while calling")), "")
    without_class = re.sub(r"^:?\s*(?:[a-z]\w*\.)+\w+(?:Exception|Error): ", "", first)
    return re.sub(r"^\[[\w.]+\] ", "", without_class).split(" SQLSTATE")[0].strip().rstrip(".")
