"""Recommendations for the users of a partition, computed by a worker of Spark without torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from reprise.data.io.spark_logs.worker_versions import check_versions
from reprise.data.user_histories import group_by_user

if TYPE_CHECKING:
    from reprise.data.vocabulary import ItemId
    from reprise.recommender.recommendations import Recommendations
    from reprise.spark.worker_model import WorkerModel

SKIPPED = "skipped"
"""Column with the number of skipped events of a user, in the first row of each user; 0 in the others."""


@dataclass(frozen=True)
class Answers:
    """A function of Arrow batches sorted by user, for `DataFrame.mapInArrow`: one row for each recommended item."""

    model: "WorkerModel"
    """The model."""
    k: int
    """Number of items per user."""
    options: Mapping[str, Any]
    """Further arguments of `Recommender.recommend_many`."""
    user_type: pa.DataType
    """Type of the user ids."""
    item_type: pa.DataType
    """Type of the item ids."""
    users_per_batch: int
    """Number of users in a block, whose histories are computed together."""
    versions: Mapping[str, str]
    """Versions of libraries in the driver."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the result, as `reprise recommend` writes them, and `SKIPPED`."""
        return pa.schema(
            {
                "user_id": self.user_type,
                "rank": pa.int64(),
                "item_id": self.item_type,
                "score": pa.float64(),
                "title": pa.string(),
                SKIPPED: pa.int64(),
            }
        )

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of some thousand users at a time.

        Raises:
            ConfigError: The worker has other versions, or does not find the model.
            ArtefactError: The model is damaged or another one.
            DataError: A history cannot be read.
        """
        check_versions(self.versions)
        recommender = self.model.load()
        for users, histories in group_by_user(batches, self.users_per_batch):
            yield self._rows(users, recommender.recommend_many(histories, self.k, **self.options))

    def _rows(self, users: "list[ItemId]", results: "list[Recommendations]") -> pa.RecordBatch:
        items = [item for result in results for item in result]
        columns = [
            [user for user, result in zip(users, results, strict=True) for _ in result],
            [item.rank for item in items],
            [item.item_id for item in items],
            [item.score for item in items],
            [item.title for item in items],
            [0 if place else result.skipped for result in results for place in range(len(result))],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
