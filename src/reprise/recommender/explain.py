"""Explanations of scores: the influence of each event, by leaving it out, and the contribution of each column of an item.

Shape letters: T events of the history, T' its last events that are left out in turn, M explained items, B versions of the
history: the whole one and T' without one event.
"""

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.recommender.history import History
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommendations import ColumnContribution, Influence
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.exact_index import Index


def influences(
    network: OnnxNetwork,
    index: Index,
    events: EventArrays,
    items: AnyArray,
    now_s: float,
    last: int | None = None,
    state: State | None = None,
) -> Float32Array:
    """Return the scores after the whole history minus the scores after the history without one event, [T', M].

    The result is exact: every shorter history is folded as a history of its own, with its own time gaps and last items. A
    version without event t shares the state before t with the whole history, so the versions split off one after another.
    After the first T - T' events this takes T' (T' + 1) / 2 steps of single users, in T' batches, for any number of items.

    Args:
        network: Network that computes the scores.
        index: Search over its output vectors.
        events: Whole history of T events.
        items: Indices of the M items to explain.
        now_s: Time of the request, in seconds since 1970; NaN if it is not known.
        last: Number of last events to leave out in turn; None: all events.
        state: State before the first of the events, [1, ...]; None: the initial state.
    """
    assert last is None or last >= 1
    first = 0 if last is None else max(0, len(events) - last)
    state = network.runtime.initial_state(1) if state is None else state
    for step in range(first):
        state = network.advance(state, events.take(np.array([step])))
    for versions, step in enumerate(range(first, len(events)), start=1):
        # Row 0 is the whole history, rows 1.. the versions without an earlier event. All of them read event `step`. The new
        # last row is the version without it: a copy of row 0 from before this step.
        # Example with the events a, b: the rows are [-] -> [a, -] -> [ab, b, a], the last two without a and without b.
        after = network.advance(state, events.take(np.full(versions, step)))
        state = {name: np.concatenate([after[name], state[name][:1]]) for name in state}
    score_BM = network.scores_of(state, items, index, now_s)
    influence_TM: Float32Array = score_BM[0] - score_BM[1:]
    return influence_TM


def influences_of_events(
    ranker: Ranker, history: History, item: int, now_s: float, last: int | None = None
) -> list[Influence]:
    """Return the influence of events of a history on the score of an item index, in the order of the history.

    For `now_s` and `last` see `influences`.
    """
    network = ranker.network
    state = network.with_attributes(network.runtime.initial_state(1), [history.attributes])
    influence_T1 = influences(
        network, ranker.index, history.events, np.array([item]), now_s, last, state=state
    )
    explained = slice(len(history) - len(influence_T1), None)
    rows = zip(
        ranker.catalogue.item_ids(history.events.item[explained].tolist()),
        history.position_T[explained].tolist(),
        influence_T1[:, 0].tolist(),
        strict=True,
    )
    return [Influence(*row) for row in rows]


def column_contributions(
    ranker: Ranker, state: State, items: AnyArray, now_s: float
) -> list[list[ColumnContribution]]:
    """Return the contributions of columns to the scores of M items for one user: a list for each item, largest amounts first.

    The lists are empty if the model does not read the content of items, or if the query is not finite. The learned vector and
    the bias of an item contribute the rest of the product of query and output vector (`ContentVectors.score_parts`).

    Args:
        ranker: Model with the current items.
        state: State of the user, [1, ...].
        items: Indices of the M items.
        now_s: Time of the request, in seconds since 1970; NaN if it is not known.

    Raises:
        DataError: a file that a column names cannot be read.
    """
    content, network, catalogue = ranker.content, ranker.network, ranker.catalogue
    query_D = network.query(state, now_s)[0]
    if content is None or not np.isfinite(query_D).all():
        return [[] for _ in items]
    # a new value does not change the vector of an item of the training part, so the model read the value of the table
    original = catalogue.without_changes()
    rows = [
        (original if index <= catalogue.warm else catalogue).item(catalogue.item_id(index))
        for index in items.tolist()
    ]
    input_MD, output_MD = network.input_of(items), network.output_of(items)
    features = content.explained_features(rows, input_MD)
    found = []
    for row, *arrays in zip(rows, features, input_MD, output_MD, strict=True):
        parts = content.score_parts(query_D, *arrays)
        contributions = [
            ColumnContribution(name, None if name in content.vector_columns else row.get(name), amount)
            for name, amount in parts.columns.items()
        ]
        found.append(sorted(contributions, key=lambda one: -abs(one.contribution)))
    return found


def columns_after_history(
    ranker: Ranker, history: History, item: int, now_s: float
) -> list[ColumnContribution]:
    """Return `column_contributions` of an item index after a history; empty if it has no known event."""
    if not len(history):
        return []
    state = ranker.network.with_attributes(ranker.network.fold([history.events]), [history.attributes])
    return column_contributions(ranker, state, np.array([item]), now_s)[0]
