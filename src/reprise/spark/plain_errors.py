"""Errors of Spark as errors of Reprise, for code that uses recommendations of Spark."""

from collections.abc import Iterator
from contextlib import contextmanager

from reprise.data.io.spark_logs.worker_errors import translated_errors


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise errors of Spark in the block as errors of Reprise, each with one message in place of stack traces.

    Use it where the result of `recommend` is computed: `with plain_errors(): answers.write.parquet(path)`.

    Raises:
        DataError: Workers cannot read the events, or Spark stopped.
        ConfigError: Workers lack the model or a library, or have other versions than the driver.
        ArtefactError: The model of a worker is damaged or another one.
    """
    with translated_errors():
        yield
