"""Messages for item ids that a model does not know, and for ids of the wrong type."""

from itertools import islice
from numbers import Integral, Real

from reprise.argument_checks import shown
from reprise.data.vocabulary import ItemId, Vocabulary
from reprise.errors import did_you_mean

MAX_HINT_IDS = 10_000
"""Number of most popular ids that an unknown id is compared with for a hint; more would make the error slow."""


def unknown_id(item_id: ItemId, items: Vocabulary) -> str:
    """Return the message for an id that a vocabulary does not have, with a similar id if there is one."""
    known = [str(other) for other in islice(items.ids, MAX_HINT_IDS)]
    hint = did_you_mean(str(item_id), known)
    # without a similar name, `did_you_mean` lists all names, and a catalogue is too long for that
    hint = hint if hint.startswith("; did you mean") else f"; the catalogue has {len(items)} items"
    return f"unknown item {item_id!r}{hint}"


def wrong_id_type(item_id: object, items: Vocabulary) -> str:
    """Return the message for an id of another type than those of a vocabulary."""
    wanted = "integers" if items.integer_ids else "strings"
    given = type(item_id).__name__
    text = f"item id {shown(item_id)} is of type {given}, the ids of this model are {wanted}; pass ids of that type"
    if isinstance(item_id, Real) and not isinstance(item_id, Integral):
        text += " (pandas turns integers into floats if some are missing: drop the rows without an id, then convert)"
    return text
