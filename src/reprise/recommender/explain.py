"""Why an item scored as it did: the score again, without one event of the history at a time.

Shape letters: T events of the history, B the history and its T versions without one event.
"""

import numpy as np

from reprise.recommender.events import Events
from reprise.recommender.index import Floats
from reprise.recommender.network import Network


def influences(network: Network, events: Events, item: int, now_s: float) -> Floats:
    """The score of item index `item` after the history, minus its score after the history without event t, [T].

    Exact: each shorter history is folded again, and what a state holds of times and last items is then that of the shorter
    history. The version without event t shares all before t with the whole, so it is split off only there; T (T + 1) / 2
    steps in T batches, and T states in memory.
    """
    state = network.runtime.initial_state(1)
    for step in range(len(events)):
        # row 0 is the whole history; its copy goes on without this event, all others with it
        after = network.advance(state, events.take(np.full(step + 1, step)))
        state = {name: np.concatenate([after[name], state[name][:1]]) for name in state}
    score_B = network.score(state, item, now_s)
    influence_T: Floats = score_B[0] - score_B[1:]
    return influence_T
