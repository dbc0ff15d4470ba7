"""Items held out as cold ones: an experiment on any log, also one without new items.

Shape letters: E events, U sequences, I items.
"""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa

from reprise.argument_checks import number, whole
from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset, check_dataset
from reprise.data.vocabulary import Vocabulary
from reprise.errors import ConfigError, DataError

COUNT = "count"
"""Column of the item table with the number of training events."""


def hold_out_items(
    dataset: SequenceDataset, valid: float = 0.1, test: float = 0.3, *, seed: int = 0
) -> SequenceDataset:
    """Return a dataset in memory in which random items of the training part are cold.

    The first items lose their training events, so that they are cold in the validation and in the test part. The others
    lose their validation events as well, so that they are cold in the test part only, and never seen before it. The
    shares are those of Zhu et al., "Fairness among new items in cold start recommender systems" (SIGIR 2021). Unlike
    there, the targets are the next items of the sequences, of warm and of cold items together.

    Args:
        dataset: The dataset; it is not changed.
        valid: Share of the items that are cold from the validation part on.
        test: Share of the items that are cold in the test part.
        seed: Seed of the draw.

    Raises:
        ConfigError: A share is negative, or both together are not below 1.
        DataError: No training event is left.
    """
    check_dataset(dataset)
    shares = number("valid", valid), number("test", test)
    if min(shares) < 0 or sum(shares) >= 1:
        raise ConfigError(f"valid and test must be 0 or more and together below 1, got {valid} and {test}")
    seed = whole("seed", seed, low=0)
    warm = dataset.items.warm
    order = 1 + np.random.default_rng(seed).permutation(warm)
    from_valid, from_test = (round(share * warm) for share in shares)
    # the first part in which the events of an item stay
    first_part_I = np.zeros(len(dataset.items) + 1, dtype=np.uint8)
    first_part_I[order[:from_valid]] = 1
    first_part_I[order[from_valid : from_valid + from_test]] = 2
    part_E = _parts(dataset)
    kept_E = part_E >= first_part_I[np.asarray(dataset.item)]
    if not kept_E[part_E == 0].any():
        raise DataError("no training event is left; hold out fewer items")
    before_E = np.concatenate([[0], kept_E.cumsum()])
    index_I, table = _reordered(dataset, first_part_I[1:] == 0)
    key = json.dumps([dataset.fingerprint, *shares, seed])
    return replace(
        dataset,
        items=Vocabulary(dataset.items.ids[index_I - 1], warm=int((first_part_I[1 : warm + 1] == 0).sum())),
        offset=before_E[dataset.offset],
        train_end=before_E[dataset.train_end],
        valid_end=before_E[dataset.valid_end],
        item=np.argsort(np.concatenate([[0], index_I]))[dataset.item[kept_E]].astype(np.int32),
        **{name: getattr(dataset, name)[kept_E] for name in ("time_ms", "kind", "value")},
        table=table,
        split={**dataset.split, "held_out": {"valid": shares[0], "test": shares[1], "seed": seed}},
        fingerprint=hashlib.sha256(key.encode()).hexdigest()[:16],
        path=None,
    )


def _parts(dataset: SequenceDataset) -> AnyArray:
    """Return the part of each event as 0, 1 or 2, [E]."""
    ends = np.stack([dataset.train_end, dataset.valid_end, dataset.offset[1:]], 1)
    begins = np.concatenate([dataset.offset[:-1, None], ends[:, :-1]], 1)
    return np.repeat(np.tile(np.arange(3, dtype=np.uint8), len(dataset)), (ends - begins).ravel())


def _reordered(dataset: SequenceDataset, stays_I: AnyArray) -> tuple[AnyArray, pa.Table]:
    """Return the former index of each item, [I], those that stay warm first, and the item table in this order."""
    warm_I = stays_I & (np.arange(len(stays_I)) < dataset.items.warm)
    index_I = np.argsort(~warm_I, kind="stable") + 1
    table = dataset.table.take(pa.array(index_I - 1))
    if COUNT in table.column_names:
        count_I = np.where(warm_I[index_I - 1], np.asarray(table.column(COUNT)), 0)
        place = table.column_names.index(COUNT)
        table = table.set_column(place, COUNT, pa.array(count_I, type=table.schema.field(COUNT).type))
    return index_I, table
