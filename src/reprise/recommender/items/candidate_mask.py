"""The mask of items that may be recommended, from deny and allow lists, conditions on columns and items seen.

Shape letters: B users, I items. Column j of a mask belongs to item index j + 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, BoolArray
from reprise.data.vocabulary import PAD, ItemId
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.filter_conditions import matching_items
from reprise.recommender.items.item_columns import AVAILABLE
from reprise.recommender.items.list_arguments import id_list


@dataclass(frozen=True)
class Filters:
    """The filters of one request."""

    items: int
    """Number of items that can be recommended without filters."""
    listed_I: BoolArray | None
    """Mask from the lists, the conditions and the column `available`; None if it allows every item."""
    exclude_seen: bool
    """Whether the items of the user's own history are left out too."""
    unknown_allowed: int
    """Number of ids of the allow list that have no vector."""

    def mask(self, seen_B: Sequence[AnyArray]) -> BoolArray | None:
        """Return the mask for users who have seen these item indices: [I], [B, I], or None if it allows every item."""
        if not self.exclude_seen:
            return self.listed_I
        listed_I = np.ones(self.items, dtype=np.bool_) if self.listed_I is None else self.listed_I
        allowed_BI = np.repeat(listed_I[None], len(seen_B), axis=0)
        for allowed_I, seen in zip(allowed_BI, seen_B, strict=True):
            allowed_I[seen - 1] = False
        return allowed_BI


def read_filters(
    catalogue: Catalogue,
    deny: Iterable[ItemId],
    allow: Iterable[ItemId] | None,
    exclude_seen: bool,
    filter: Mapping[str, Any] | None = None,
) -> Filters:
    """Return the filters of the caller's lists and conditions.

    Unknown ids in the lists are accepted, because lists often contain items that a later catalogue no longer has. Items whose
    `available` is false are left out, unless `filter` names `available`.

    Raises:
        DataError: a list is text, a table or not a list, or its ids are of another type than the model's ids; or a condition
            names an unknown column, or does not fit its column.
    """
    denied = catalogue.indices(id_list("deny", deny))
    allowed = None if allow is None else catalogue.indices(id_list("allow", allow))
    matching_I = None if filter is None else matching_items(catalogue, filter)
    named = filter is not None and AVAILABLE in filter
    available_I = catalogue.listed_I if named else catalogue.available_I
    masks = [mask_I for mask_I in (matching_I, available_I) if mask_I is not None]
    unknown = 0 if allowed is None else int((allowed == PAD).sum())
    if not (len(denied) or allowed is not None or masks):
        return Filters(catalogue.size, None, exclude_seen, unknown)
    listed_I = np.full(catalogue.size, allowed is None)
    if allowed is not None:
        listed_I[allowed[allowed != PAD] - 1] = True
    listed_I[denied[denied != PAD] - 1] = False
    for mask_I in masks:
        listed_I &= mask_I
    return Filters(catalogue.size, None if listed_I.all() else listed_I, exclude_seen, unknown)
