"""Conversion of user states to bytes and back, so that a store can keep them over a restart.

The bytes are the length of a JSON header, the header, and the arrays of all states one after another. A state with the same
snapshot at several places is written once.
"""

import json
import struct
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np

from reprise.arrays import AnyArray
from reprise.recommender.runtime.onnx_session import State
from reprise.server.engine.user_state import NO_ITEMS, SNAPSHOT_INTERVALS, UserState
from reprise.server.store.records import StoredState, User

FORMAT = 2
"""Version of the bytes. It is a part of `StoredState.model`."""
STORED_INTERVALS = SNAPSHOT_INTERVALS[2:]
"""Intervals whose snapshots are stored. The others are taken again after a few events."""
NUMBERS = ("seq", "event_count", "skipped_count", "log_count", "window_start", "session_start")
"""Fields of a state that are written as they are."""
LENGTH = struct.Struct("<I")


def encode_state(user: User, state: UserState, model: str) -> StoredState:
    """Return the state of a user, with the snapshots of the long intervals, as bytes."""
    first = 2 * (len(SNAPSHOT_INTERVALS) - len(STORED_INTERVALS))
    kept = [None] * first + [*state.snapshots[first:]]
    written = [state]
    places = []
    for snapshot in kept:
        if snapshot is not None and not any(snapshot is one for one in written):
            written.append(snapshot)
        places.append(next((place for place, one in enumerate(written) if one is snapshot), None))
    arrays: list[AnyArray] = []
    rows = []
    for one in written:
        row: dict[str, Any] = {name: getattr(one, name) for name in NUMBERS}
        row["last_ms"] = None if one.last_ms == -inf else one.last_ms
        row["last_keys"] = sorted([str(item), kind] for item, kind in one.last_keys)
        row["seen"] = None if one.seen is None else len(one.seen)
        row["changeable"] = len(one.changeable)
        rows.append(row)
        arrays += [
            *(one.network_state[name] for name in sorted(one.network_state)),
            *([] if one.seen is None else [one.seen.astype(np.int64)]),
            one.changeable,
        ]
    header = json.dumps(
        {"arrays": _shapes(state), "states": rows, "snapshots": places},
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    body = b"".join(
        [LENGTH.pack(len(header)), header, *(np.ascontiguousarray(array).tobytes() for array in arrays)]
    )
    return StoredState(user, state.generation, state.seq, model, body)


def decode_state(stored: StoredState, initial: UserState) -> UserState | None:
    """Return a state from its bytes; None if they do not fit the network.

    Args:
        stored: What `encode_state` returned.
        initial: State of a user without events: it has the names, types and shapes of the arrays.
    """
    try:
        (length,) = LENGTH.unpack_from(stored.body)
        start = LENGTH.size + length
        header = json.loads(stored.body[LENGTH.size : start])
        if header["arrays"] != _shapes(initial):
            return None
        arrays = _Arrays(stored.body, start)
        states = [_state(row, arrays, stored.generation, initial) for row in header["states"]]
        if arrays.offset != len(stored.body) or len(header["snapshots"]) != len(initial.snapshots):
            return None
        snapshots = tuple(None if place is None else states[place] for place in header["snapshots"])
    except (ValueError, KeyError, IndexError, TypeError, struct.error):
        return None  # a cache: an invalid entry is a missing one
    return replace(states[0], snapshots=snapshots) if states[0].seq == stored.seq else None


def _shapes(state: UserState) -> list[list[Any]]:
    """Return the name, type and shape of each array of the network's state, in the order in which they are written."""
    return [[name, array.dtype.str, [*array.shape]] for name, array in sorted(state.network_state.items())]


def _state(row: dict[str, Any], arrays: "_Arrays", generation: int, initial: UserState) -> UserState:
    network_state: State = {
        name: arrays.take(array.dtype, array.shape) for name, array in sorted(initial.network_state.items())
    }
    numbers: dict[str, Any] = {name: int(row[name]) for name in NUMBERS}
    seen = None if row["seen"] is None else arrays.take(NO_ITEMS.dtype, (row["seen"],))
    return UserState(
        network_state=network_state,
        changeable=arrays.take(NO_ITEMS.dtype, (row["changeable"],)),
        change_number=initial.change_number,
        generation=generation,
        last_ms=-inf if row["last_ms"] is None else row["last_ms"],
        saved_count=int(row["log_count"]),
        last_keys=frozenset((item, kind) for item, kind in row["last_keys"]),
        seen=seen,
        **numbers,
    )


class _Arrays:
    """Arrays that follow each other in bytes."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self.offset = offset

    def take(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> AnyArray:
        """Return the next array; raise `ValueError` if the bytes end before it."""
        count = int(np.prod(shape))
        array: AnyArray = np.frombuffer(self._data, dtype, count, self.offset).reshape(shape).copy()
        self.offset += array.nbytes
        return array
