"""An engine for event logs that are Spark data frames: DuckDB parses the rows on the workers, and Spark runs the queries."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa

from reprise.data.io.spark_logs.batch_query import LOG, BatchQuery
from reprise.data.io.spark_logs.user_blocks import UserBlocks
from reprise.data.io.spark_logs.worker_errors import translated_errors
from reprise.data.io.spark_logs.worker_versions import versions_of
from reprise.data.io.spark_session import without_pandas_warning

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LIBRARIES = ("reprise", "duckdb")
"""Libraries on which the values that workers read depend."""


class FrameEngine:
    """Evaluates Ibis expressions over a data frame. The session of the frame keeps its settings and its views."""

    def __init__(self, frame: "DataFrame") -> None:
        """Open the log.

        Args:
            frame: The log under canonical names, with the column `row`.
        """
        assert ibis.pyspark  # loads the options of its compiler
        self._session = frame.sparkSession
        self._frames = {LOG: frame}
        self._log = ibis.table(_schema(frame), name=LOG)

    @property
    def log(self) -> ir.Table:
        """The log, an input of `row_wise` only."""
        return self._log

    def row_wise(self, expression: ir.Table) -> ir.Table:
        """Return the table that an expression computes row by row from the log. DuckDB evaluates it on the workers."""
        return self.add(self.row_frame(expression))

    def row_frame(self, expression: ir.Table, blocks: UserBlocks | None = None) -> "DataFrame":
        """Return the result of `row_wise` as a data frame; with `blocks`, it also has the column `place`."""
        from pyspark.sql.pandas.types import from_arrow_schema

        used = {field.name for field in expression.op().find(ops.Field)}
        log = self._frames[LOG]
        schema = expression.schema().to_pyarrow()
        sql = str(ibis.to_sql(expression, dialect="duckdb"))
        query = BatchQuery(sql, schema, versions_of(LIBRARIES), blocks)
        schema = schema if blocks is None else schema.append(pa.field("place", pa.int64()))
        with translated_errors(), without_pandas_warning():
            selected = log.select(*(name for name in log.columns if name in used))
            return selected.mapInArrow(query, from_arrow_schema(schema))

    def add(self, frame: "DataFrame") -> ir.Table:
        """Return a data frame as a table for expressions that `frame` evaluates."""
        name = f"rows_{len(self._frames)}"
        self._frames[name] = frame
        return ibis.table(_schema(frame), name=name)

    def frame(self, expression: ir.Table) -> "DataFrame":
        """Return the data frame that an expression over results of `row_wise` and `add` describes."""
        tables = {table.name for table in expression.op().find(ops.UnboundTable)}
        prefix = f"reprise_{uuid4().hex}_"
        renamed = {
            table: ops.UnboundTable(name=prefix + table.name, schema=table.schema)
            for table in expression.op().find(ops.UnboundTable)
        }
        sql = str(ibis.to_sql(expression.op().replace(renamed).to_expr(), dialect="pyspark"))
        # a view is only needed until Spark has resolved its name
        with translated_errors():
            try:
                for name in tables:
                    self._frames[name].createTempView(prefix + name)
                return self._session.sql(sql)
            finally:
                for name in tables:
                    self._session.catalog.dropTempView(prefix + name)

    def rows(self, expression: ir.Table) -> list[dict[str, Any]]:
        """Evaluate an expression with a small result and return its rows."""
        frame = self.frame(expression)
        with translated_errors(), without_pandas_warning():
            return [row.asDict() for row in frame.collect()]

    def row(self, expression: ir.Table) -> dict[str, Any]:
        """Evaluate an expression with one row, such as an aggregate, and return the row."""
        return self.rows(expression)[0]


def _schema(frame: "DataFrame") -> ibis.Schema:
    """Return the types of the columns as Ibis and DuckDB see them in Arrow batches."""
    from pyspark.sql.pandas.types import to_arrow_schema

    return ibis.Schema.from_pyarrow(to_arrow_schema(frame.schema, timezone="UTC"))
