"""A later dataset as an earlier network sees it: with the item indices of the earlier dataset.

Shape letters: E events, I items.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import Vocabulary


def former_view(now: SequenceDataset, before: SequenceDataset) -> SequenceDataset:
    """Return the events of a dataset with the item indices and event kinds of an earlier one.

    Sequences, times and parts are those of `now`, so targets have the same positions. Items that only `now` has follow those
    of `before` and are cold: a network of `before` skips their events, and cannot rank them. A kind that only `now` has becomes
    the first kind of `before`.

    Args:
        now: The later dataset.
        before: The dataset of the earlier network.
    """
    added = [one for one in now.items.ids.tolist() if one not in before.items]
    ids = np.asarray([*before.items.ids.tolist(), *added], dtype=before.items.ids.dtype)
    vocabulary = Vocabulary(ids, warm=before.items.warm)
    index_I = np.concatenate([[0], vocabulary.indices(now.items.ids.tolist())]).astype(np.int32)
    kind_of = np.asarray(
        [before.kinds.index(kind) if kind in before.kinds else 0 for kind in now.kinds], dtype=np.uint8
    )
    return replace(
        now,
        items=vocabulary,
        item=index_I[np.asarray(now.item)],
        kind=kind_of[np.asarray(now.kind)],
        kinds=before.kinds,
        table=pa.table({"item_id": ids.tolist()}),
        path=None,
    )
