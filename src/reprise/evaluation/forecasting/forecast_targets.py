"""The targets of forecasts: events of a dataset, with the history before each of them.

Shape letters: E events of the dataset, N targets, M targets of a batch, D width of the query.
"""

from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float32Array, Float64Array
from reprise.data.dataset import Part, SequenceDataset
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.scores import VectorScores
from reprise.evaluation.ranking.targets import evaluation_mode, score_batches
from reprise.evaluation.stats.target_sample import TargetSample
from reprise.forecast.recent_history import RecentHistory
from reprise.models.networks.network_scorer import NetworkScorer


class EventsAhead(NamedTuple):
    """N events of a dataset with at least one event before them in their sequence, in the order of the dataset."""

    row_N: AnyArray
    """Row of the sequence of each event in the dataset, int64."""
    position_N: AnyArray
    """Position of each event in the dataset, int64."""
    history: RecentHistory
    """Last events before each event, in its sequence."""
    kind_N: AnyArray
    """Code of the kind of each event, int64."""
    gap_s_N: Float64Array
    """Seconds from the previous event of the sequence, including events of cold items, to each event."""


def events_ahead(
    dataset: SequenceDataset,
    part: Part,
    limit: int | None = None,
    seed: int = 0,
    sample: TargetSample | None = None,
) -> EventsAhead:
    """Return the events of a part that have an event before them; at most `limit` of them, drawn at random.

    With `sample` they are drawn from this sample.
    """
    return events_at(dataset, sample_positions(dataset, part, limit or dataset.events, seed, sample))


def sample_positions(
    dataset: SequenceDataset, part: Part, limit: int, seed: int, sample: TargetSample | None = None
) -> AnyArray:
    """Return the positions in the dataset of the events of `events_ahead`, ascending, int64."""
    return EvaluationProtocol(part, sample=sample).sample_targets(dataset, limit, seed)


def events_at(dataset: SequenceDataset, position_N: AnyArray) -> EventsAhead:
    """Return the events at N positions of the dataset, each with an event before it in its sequence."""
    row_N = np.searchsorted(dataset.offset, position_N, side="right") - 1
    kind_E, time_s_E = np.asarray(dataset.kind), np.asarray(dataset.time_ms) / 1000
    return EventsAhead(
        row_N,
        position_N,
        RecentHistory.before(
            position_N, np.asarray(dataset.offset)[row_N], np.asarray(dataset.item), kind_E, time_s_E
        ),
        kind_E[position_N].astype(np.int64),
        time_s_E[position_N] - time_s_E[position_N - 1],
    )


def queries_before(
    model: NetworkScorer,
    dataset: SequenceDataset,
    ahead: EventsAhead,
    part: Part,
    sample: TargetSample | None = None,
) -> Float32Array:
    """Return the query vector of a network after the history of each target, [N, D].

    The time of the request is not an input of the query: it is the time of the target, and would reveal the gap.

    Args:
        model: The network.
        dataset: The dataset that holds the targets.
        ahead: The targets.
        part: The part of the dataset that the targets are from.
        sample: The sample that the targets are from; only its histories are read. None: all histories are read.
    """
    protocol = EvaluationProtocol(part, query_time=False, sample=sample)
    query_ND = np.empty((len(ahead.position_N), model.query_width), dtype=np.float32)
    with evaluation_mode(model):
        for batch, scores in score_batches(model, dataset, protocol, QUICK):
            assert isinstance(scores, VectorScores)
            position_M = batch.targets()[1]
            place_M = np.searchsorted(ahead.position_N, position_M).clip(max=len(ahead.position_N) - 1)
            found_M = np.flatnonzero(ahead.position_N[place_M] == position_M)
            query_ND[place_M[found_M]] = scores.query_ND[found_M].float().cpu().numpy()
    return query_ND
