"""Blocks of users: the batches in which one machine would answer them, so that workers compute the same scores.

The last bits of a score depend on the histories that are computed together. One machine takes the users in the order of
their ids, a fixed number at a time. A block is such a batch, and workers answer whole blocks.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from reprise.data.vocabulary import ItemId

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PARTITION_BITS = 33
"""Position of the number of the partition in the result of Spark's `monotonically_increasing_id`."""
TRIES = 40
"""Integers per partition among which one is searched that Spark's hash sends to it."""


@dataclass(frozen=True)
class UserBlocks:
    """The blocks of a log, divided among partitions in their order."""

    starts: Sequence[ItemId]
    """First user of each block, ascending."""
    places: Sequence[int]
    """For each partition, in order, an integer that Spark's hash sends to it. There are at most as many as blocks."""

    def place(self, user_id: pa.Array) -> pa.Array:
        """Return the place, one of `places`, of the partition of each user."""
        encoded = user_id.dictionary_encode()
        places = [self._place(user) for user in encoded.dictionary.to_pylist()]
        return pa.array(places, pa.int64()).take(encoded.indices)

    def _place(self, user: ItemId) -> int:
        block = bisect_right(self.starts, user) - 1  # type: ignore[type-var, arg-type, unused-ignore]
        return self.places[block * len(self.places) // len(self.starts)]


def block_starts(users: "DataFrame", size: int) -> list[ItemId]:
    """Return the first user of each block.

    Args:
        users: Distinct users in the column `user_id`.
        size: Number of users in a block; the last one may have fewer.
    """
    from pyspark.sql import functions

    # the numbers are consecutive in each partition, and partitions are in the order of the users
    numbered = users.orderBy("user_id").select(
        "user_id", functions.monotonically_increasing_id().alias("number")
    )
    partition, position = (
        functions.shiftright("number", PARTITION_BITS),
        functions.col("number").bitwiseAND(2**PARTITION_BITS - 1),
    )
    kept = numbered.persist()
    try:
        counts = kept.groupBy(partition.alias("partition")).count().orderBy("partition").collect()
        before, offsets = 0, []
        for found in counts:
            offsets += [functions.lit(found["partition"]), functions.lit(before)]
            before += found["count"]
        in_log = functions.create_map(*offsets)[partition] + position
        return [found["user_id"] for found in kept.where(in_log % size == 0).orderBy("user_id").collect()]
    finally:
        kept.unpersist()


def partition_places(session: "SparkSession", partitions: int) -> list[int]:
    """Return for each of some partitions an integer that Spark's hash sends to it. Partitions then keep their order.

    If no such integer is found, the number of the partition is used, and two partitions may become one.
    """
    from pyspark.sql import functions

    tried = session.range(TRIES * partitions)
    target = functions.pmod(functions.hash("id"), functions.lit(partitions)).alias("partition")
    found = {
        one["partition"]: one["id"]
        for one in tried.groupBy(target).agg(functions.min("id").alias("id")).collect()
    }
    return [found.get(partition, partition) for partition in range(partitions)]
