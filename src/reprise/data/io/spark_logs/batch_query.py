"""A query that computes rows one by one, run by DuckDB on the batches of a Spark data frame. Imports neither Ibis nor Spark.

DuckDB converts texts, times and numbers on one machine, so it also does on the workers: Spark's own conversions differ.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from reprise.data.io.spark_logs.user_blocks import UserBlocks
from reprise.data.io.spark_logs.worker_versions import check_versions
from reprise.errors import DataError

LOG = "log"
"""Name of the table in a query."""


@dataclass(frozen=True)
class BatchQuery:
    """A function of Arrow batches, for `DataFrame.mapInArrow`."""

    sql: str
    """The query in DuckDB's SQL. Each row of its result depends on one row of the table `log`."""
    schema: pa.Schema
    """Schema of the result."""
    versions: Mapping[str, str]
    """Versions of libraries in the driver."""
    blocks: UserBlocks | None = None
    """Blocks that add the column `place`; None: no such column."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Run the query on each batch and yield the results.

        Raises:
            ConfigError: The worker has another version of a library.
            DataError: A value cannot be computed.
        """
        check_versions(self.versions)
        with duckdb.connect(config={"threads": "1"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for batch in batches:
                connection.register(LOG, pa.Table.from_batches([batch]))
                try:
                    result = connection.sql(self.sql)
                    # duckdb 2 renamed `fetch_arrow_table`
                    table = result.to_arrow_table() if hasattr(result, "to_arrow_table") else result.arrow()
                except duckdb.Error as error:
                    text = " ".join(str(error).split("\n\n")[0].split())
                    raise DataError(f"the events cannot be read: {text}") from None
                for rows in table.cast(self.schema).to_batches():
                    yield (
                        rows
                        if self.blocks is None
                        else rows.append_column("place", self.blocks.place(rows["user_id"]))
                    )
                connection.unregister(LOG)
