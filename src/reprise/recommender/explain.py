"""Why items scored as they did: the scores again, without one event of the history at a time.

Shape letters: T events of the history, T' the last of them that are left out in turn, M items that are explained,
B the history and its T' versions without one event.
"""

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State


def influences(
    network: OnnxNetwork,
    events: EventArrays,
    items: AnyArray,
    now_s: float,
    last: int | None = None,
    state: State | None = None,
) -> Float32Array:
    """The scores of item indices after the history, minus their scores after the history without one event, [T', M].

    Exact: each shorter history is folded again, and what a state holds of times and last items is then that of the shorter
    history. The version without an event shares all before it with the whole, so it is split off only there: after the
    T - T' events before, T' (T' + 1) / 2 steps in T' batches, and T' states in memory, however many items are asked about.

    Args:
        network: What scores.
        events: The whole history, T events.
        items: Indices of M items.
        now_s: The moment of asking, NaN where it is not known.
        last: Leave out only the last so many events, each in turn; None: all.
        state: What is remembered before the first of the events, [1, ...]; None: nothing.
    """
    assert last is None or last >= 1
    first = 0 if last is None else max(0, len(events) - last)
    state = network.runtime.initial_state(1) if state is None else state
    for step in range(first):
        state = network.advance(state, events.take(np.array([step])))
    for versions, step in enumerate(range(first, len(events)), start=1):
        # row 0 is the whole history; its copy goes on without this event, all others with it
        after = network.advance(state, events.take(np.full(versions, step)))
        state = {name: np.concatenate([after[name], state[name][:1]]) for name in state}
    score_BM = network.scores_of(state, items, now_s)
    influence_TM: Float32Array = score_BM[0] - score_BM[1:]
    return influence_TM
