"""A public list of items in place of the vocabulary of a log, for training with differential privacy.

The vocabulary of a log and its order depend on every user. A public list does not.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset, id_array
from reprise.data.io.events import find_column
from reprise.data.io.sources import open_source
from reprise.data.vocabulary import Vocabulary
from reprise.errors import ArtefactError, ConfigError, DataError

ID, COUNT = "item_id", "count"
"""Columns that every item table of a model has."""
KINDS = "kinds of event"
"""Key of the public names of the kinds of event in the statement of a private model."""
PUBLIC_FACTS = ("options", "columns", "sequence_by")
"""Facts of a dataset that the caller of `prepare` chose."""


def read_public_items(path: str | Path, integer_ids: bool) -> pa.Table:
    """Read a public item table. The rows keep the order of the file.

    Args:
        path: Table with a column of item ids and, optionally, further columns.
        integer_ids: Whether the ids of the log are integers. Text stays text otherwise.

    Raises:
        DataError: The file cannot be read, or an id is missing, repeated or of another type than those of the log.
    """
    source = open_source(path)
    column = find_column("item", list(source.table.columns))
    if column is None:
        raise DataError(f"{path} has no column {ID!r}; name the column of item ids {ID}")
    table = source.table.to_pyarrow()
    table = table.rename_columns([ID if name == column else name for name in table.column_names])
    ids = table.column(ID)
    try:
        cast = ids.cast(pa.int64() if integer_ids else pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"the item ids of {path} are not those of the log ({error}); use ids of one type"
        ) from None
    table = table.set_column(table.column_names.index(ID), ID, cast)
    if cast.null_count:
        raise DataError(f"{path} has {cast.null_count} rows without an item id; remove them")
    repeated = len(table) - len(cast.unique())
    if repeated:
        raise DataError(f"{path} has {repeated} repeated item ids; list each item once")
    if not len(table):
        raise DataError(f"{path} has no items; list the items that may be recommended")
    return without_counts(table)


def items_of_log(dataset: SequenceDataset) -> pa.Table:
    """Return the item table of a dataset, sorted by id. Its ids depend on the log, but not its order."""
    order = np.argsort(dataset.items.ids, kind="stable")
    return without_counts(dataset.table.take(pa.array(order)))


def without_counts(table: pa.Table) -> pa.Table:
    """Return an item table whose counts are zero: those of a log depend on every user."""
    if COUNT in table.column_names:
        table = table.drop_columns([COUNT])
    return table.add_column(1, COUNT, pa.array(np.zeros(len(table), dtype=np.int64)))


def write_public_items(table: pa.Table, path: Path) -> None:
    """Write a public item table."""
    pq.write_table(table, path)


def read_written_items(path: Path) -> pa.Table:
    """Read a table that `write_public_items` wrote.

    Raises:
        ArtefactError: It is missing or damaged.
    """
    try:
        table = pq.read_table(path)
        table.column(ID)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); train again in another directory") from None
    return table


def vocabulary_of(table: pa.Table) -> Vocabulary:
    """Return the vocabulary of an item table, all of whose items are scored."""
    return Vocabulary(id_array(table.column(ID)), warm=len(table))


def with_public_items(dataset: SequenceDataset, table: pa.Table) -> SequenceDataset:
    """Return a view of a dataset whose first items are those of a table, in its order; all of them are warm.

    Items that the table does not have follow as cold ones.
    """
    public = vocabulary_of(table)
    own_ids = dataset.items.ids
    known = np.array([item_id in public for item_id in own_ids.tolist()], dtype=np.bool_)
    others = np.flatnonzero(~known)
    ids: AnyArray = np.concatenate([public.ids, own_ids[others]])
    merged = Vocabulary(ids, warm=len(public))
    index_R = np.concatenate([[0], merged.indices(own_ids.tolist())]).astype(np.int32)
    extra = without_counts(dataset.table.take(pa.array(others, type=pa.int64())))
    return replace(
        dataset,
        items=merged,
        item=index_R[np.asarray(dataset.item)],
        table=pa.concat_tables([table, extra], promote_options="permissive") if len(extra) else table,
    )


@dataclass(frozen=True)
class PublicFacts:
    """What a private training makes public besides the weights of the network."""

    statement: dict[str, Any]
    """Statement of the differential privacy, with the names of the kinds of event at `KINDS`."""
    table: pa.Table
    """Item table."""


def without_events(dataset: SequenceDataset, facts: PublicFacts) -> SequenceDataset:
    """Return what is public of a view by `with_public_items`: items, the kind of split and the options of `prepare`.

    Raises:
        ConfigError: The dataset is not such a view: its items and their order depend on the log.
    """
    public = vocabulary_of(facts.table)
    if not np.array_equal(dataset.items.ids[: dataset.items.warm], public.ids):
        raise ConfigError(
            "a model with differential privacy is saved with its public list of items, not with those of the log; write "
            "model, dataset = load_run(RUN), and use both"
        )
    empty: dict[str, Any] = {
        name: np.asarray(getattr(dataset, name))[:0]
        for name in ("users", "train_end", "valid_end", "item", "time_ms", "kind", "value")
    }
    return replace(
        dataset,
        items=public,
        table=facts.table,
        user_table=None,
        offset=np.zeros(1, dtype=np.int64),
        kinds=tuple(facts.statement[KINDS]),
        split={"kind": dataset.split["kind"]} if "kind" in dataset.split else {},
        facts={name: dataset.facts[name] for name in PUBLIC_FACTS if name in dataset.facts},
        fingerprint="",
        path=None,
        **empty,
    )
