"""Recommendations of Spark written as a directory of Parquet files, which appears when it is complete."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.parquet as pq

from reprise.atomic_files import PARTIAL, writing
from reprise.data.io.spark_logs.worker_errors import translated_errors
from reprise.errors import ConfigError
from reprise.spark.answers import SKIPPED

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DONE = "_SUCCESS"
"""File that Spark writes last into a directory."""


class Written(NamedTuple):
    """What was written."""

    users: int
    """Number of users with at least one recommendation."""
    skipped: int
    """Number of events of these users whose items the model does not know."""


def check_directory(out: Path) -> None:
    """Check that a directory can be written, or is one that Spark has written and may be replaced.

    Raises:
        ConfigError: The path is something else, or its parent does not exist.
    """
    if not out.parent.is_dir():
        raise ConfigError(f"cannot write {out}: directory {out.parent} does not exist; create it first")
    if out.suffix in (".csv", ".jsonl"):
        raise ConfigError(f"cannot write {out}: Spark writes a directory of Parquet files; name a directory")
    if out.exists() and not (out / DONE).is_file():
        raise ConfigError(
            f"cannot write {out}: it exists and is not a directory that Spark wrote; name another one"
        )


def write_answers(answers: "DataFrame", out: Path) -> Written:
    """Write recommendations to a directory that the driver and all workers share. An older result is replaced by a rename.

    Spark writes to a directory next to it, `.NAME.partial`. It remains after a kill, and the next call replaces it.

    Args:
        answers: Recommendations with the column `SKIPPED`.
        out: The directory. Its files are sorted by user: read them in the order of their names.

    Raises:
        ConfigError: The workers do not share the directory, or `out` is not one that Spark wrote.
        RepriseError: A worker raised it.
        ArtefactError: The directory cannot be written.
    """
    from pyspark.sql import Observation, functions

    check_directory(out)
    partial, former = (out.absolute().with_name(f".{out.name}{suffix}") for suffix in (PARTIAL, ".former"))
    observed = Observation()
    with writing(out):
        for left in (partial, former):
            if left.exists():
                shutil.rmtree(left)
    counted = answers.observe(
        observed,
        functions.count(functions.lit(1)).alias("rows"),
        functions.count(functions.when(functions.col("rank") == 1, 1)).alias("users"),
        functions.sum(SKIPPED).alias("skipped"),
    )
    with translated_errors():
        counted.drop(SKIPPED).write.option("compression", "zstd").parquet(f"file://{partial}")
        found = observed.get
    with writing(out):
        rows = sum(pq.read_metadata(file).num_rows for file in partial.glob("part-*"))
        if rows != found["rows"]:
            raise ConfigError(
                f"{rows} of {found['rows']} rows are in {out}: the workers of Spark do not share this directory with the "
                "driver; name one that all of them have"
            )
        if out.exists():
            out.rename(former)
        partial.rename(out)
        if former.exists():
            shutil.rmtree(former)
    return Written(found["users"], found["skipped"] or 0)
