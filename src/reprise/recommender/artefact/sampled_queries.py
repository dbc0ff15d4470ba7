"""Queries of typical users, to build an approximate search and to measure its recall.

Shape letters: N sampled histories, D width.
"""

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.data.dataset import SequenceDataset
from reprise.data.io.arrow_columns import Table
from reprise.data.popular_items import popular_shares
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork

MAX_EVENTS = 100
"""Number of last events of a history that are read."""
DRAWN_EVENTS = 10
"""Number of events of a history that is drawn without a dataset."""


def sampled_queries(
    network: OnnxNetwork, table: Table, dataset: SequenceDataset | None, count: int
) -> tuple[Float32Array, str]:
    """Return at most `count` queries [N, D], and a description of the histories that they follow.

    Args:
        network: The network.
        table: Item table.
        dataset: Dataset whose histories are sampled, up to the end of its validation part. None: histories of items that
            are drawn by their number of events.
        count: Number of histories.
    """
    generator = np.random.default_rng(0)
    if dataset is not None and dataset.events:
        histories, now_s = _of_users(generator, dataset, len(network.output_ID), count)
        description = "sampled users of the dataset"
    else:
        histories, now_s = _drawn(generator, table, len(network.output_ID), count)
        description = "items drawn by their number of events"
    if not histories:
        return np.empty((0, network.output_ID.shape[1]), dtype=np.float32), description
    state = network.with_attributes(network.fold(histories), [{}] * len(histories))
    query_ND = network.query(state, now_s)
    usable_N = np.isfinite(query_ND).all(axis=1) & query_ND.any(axis=1)
    return query_ND[usable_N], description


def _of_users(
    generator: np.random.Generator, dataset: SequenceDataset, items: int, count: int
) -> tuple[list[EventArrays], AnyArray]:
    """Return the histories up to random events of the training and validation parts, and the times of these events."""
    histories: list[EventArrays] = []
    now_s: list[float] = []
    position_N = generator.choice(dataset.events, min(dataset.events, 2 * count), replace=False)
    sequence_N = dataset.offset.searchsorted(position_N, side="right") - 1
    for position, sequence in zip(position_N.tolist(), sequence_N.tolist(), strict=True):
        if position >= dataset.valid_end[sequence] or len(histories) == count:
            continue
        first = max(int(dataset.offset[sequence]), position + 1 - MAX_EVENTS)
        part = slice(first, position + 1)
        known = np.asarray((dataset.item[part] > 0) & (dataset.item[part] <= items))
        if not known.any():
            continue
        histories.append(
            EventArrays(
                dataset.item[part][known].astype(np.int64),
                dataset.time_ms[part][known] / 1000,
                dataset.kind[part][known].astype(np.int64),
                dataset.value[part][known],
            )
        )
        now_s.append(float(dataset.time_ms[position]) / 1000)
    return histories, np.array(now_s)


def _drawn(
    generator: np.random.Generator, table: Table, items: int, count: int
) -> tuple[list[EventArrays], AnyArray]:
    share_I = popular_shares(table, items).astype(np.float64) + 1e-12
    item_NE = generator.choice(items, (count, DRAWN_EVENTS), p=share_I / share_I.sum()) + 1
    return [EventArrays.of_items(item_E) for item_E in item_NE], np.full(count, np.nan)
