"""Which items may be answered: deny lists, allow lists, conditions on columns, and what the user has already seen.

Shape letters: B users, I warm items. Column j of a mask belongs to item index j + 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, BoolArray
from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.filter_conditions import passing
from reprise.recommender.items.item_columns import AVAILABLE


@dataclass(frozen=True)
class Filters:
    """The rules of one question."""

    items: int
    """How many items there are to answer with."""
    listed_I: BoolArray | None
    """What the deny and allow lists and the conditions leave, of the items that can be had; None: everything."""
    exclude_seen: bool
    """Whether the items of the user's own history are left out too."""
    unknown_allowed: int
    """How many ids of the allow list have no vector."""

    def mask(self, seen_B: Sequence[AnyArray]) -> BoolArray | None:
        """What may be answered to users who saw these items: [I], [B, I], or None for everything."""
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
    """The rules of the caller's lists and conditions. Unknown ids in the lists are no error: lists outlive catalogues.

    Items that cannot be had (`available` is false) are left out, unless `filter` itself names `available`.

    Raises:
        DataError: a list is a single string, or its ids are of another type than the model's; a condition names an unknown
            column, or does not fit it.
    """
    denied = catalogue.indices(_listed("deny", deny))
    chosen = None if allow is None else catalogue.indices(_listed("allow", allow))
    passed_I = None if filter is None else passing(catalogue, filter)
    available_I = None if filter is not None and AVAILABLE in filter else catalogue.available_I
    masks = [mask_I for mask_I in (passed_I, available_I) if mask_I is not None]
    unknown = 0 if chosen is None else int((chosen == PAD).sum())
    if not (len(denied) or chosen is not None or masks):
        return Filters(catalogue.warm, None, exclude_seen, unknown)
    listed_I = np.full(catalogue.warm, chosen is None)
    if chosen is not None:
        listed_I[chosen[chosen != PAD] - 1] = True
    listed_I[denied[denied != PAD] - 1] = False
    for mask_I in masks:
        listed_I &= mask_I
    return Filters(catalogue.warm, None if listed_I.all() else listed_I, exclude_seen, unknown)


def _listed(name: str, ids: Iterable[ItemId]) -> Iterable[ItemId]:
    if isinstance(ids, str | bytes):
        raise DataError(f"{name} is a list of item ids, got {ids!r}; pass [{ids!r}]")
    return ids
