"""Evaluate ranked lists of other software on the targets of a dataset, with the report of a model.

Shape letters: N targets, U sequences, L listed items, I items.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from reprise.argument_checks import choice, instance
from reprise.arrays import AnyArray
from reprise.data.dataset import Part, SequenceDataset, check_dataset
from reprise.data.external_lists.read_lists import ExternalLists, Order, read_lists
from reprise.errors import DataError
from reprise.evaluation.evaluator import RankedReport, chosen_protocol, measure_ranks, target_notes
from reprise.evaluation.list_metrics import gini
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import DEFAULT_LENGTHS, EvaluationProtocol, list_lengths
from reprise.evaluation.ranking.targets import TargetRanks
from reprise.evaluation.ranking.tiles import MISS
from reprise.evaluation.report import EvaluatedData, Report
from reprise.evaluation.stats.bootstrap import Interval
from reprise.evaluation.target_histories import seen_before

EXAMPLES = 3
"""Maximum number of ids that a note names."""
UNKNOWN = 0
"""Item index of a listed item that the dataset does not have; it can never be a target."""


def evaluate_lists(
    source: Any,
    dataset: SequenceDataset,
    *,
    name: str = "lists",
    part: Part = "test",
    at: Iterable[int] | None = None,
    protocol: EvaluationProtocol | None = None,
    options: EvaluationOptions | None = None,
    by: Order | None = None,
) -> Report:
    """Evaluate ranked lists that other software has made, on the same targets as a model.

    `compare(report, evaluate(model, dataset))` compares them with a model. Each sequence has one list, which all of its
    targets are searched in. A target that is not in the list, or whose sequence has no list, is a miss. With scores,
    items of the same score are a tie, which the protocol resolves.

    Args:
        source: A pandas, polars or Arrow table with the columns `user_id`, `item_id`, and `rank` or `score` (the frame of
            RecTools); a CSV, Parquet or JSON lines file with them, such as that of `reprise recommend`; or a TREC run file.
            The ids are those of the original log, and `user_id` is the id of the sequence.
        dataset: Dataset that holds the targets.
        name: Name of the lists in the report.
        part: Part whose events are the targets.
        at: Lengths of the top-k lists; None: 10 and 20, or the number of items if the catalogue is smaller.
        protocol: The whole protocol, instead of `part` and `at`.
        options: Metrics, slices and intervals.
        by: Column that orders the lists: 'rank' or 'score'; None: the rank, if there is one.

    Raises:
        DataError: A column is missing, a list has an item or a rank twice, or no id is in the dataset.
        ConfigError: A list length is above the catalogue, or both `protocol` and one of its fields are given.
    """
    check_dataset(dataset)
    instance("name", name, str, "write a name for the report")
    if by is not None:
        choice("by", by, ("rank", "score"))
    if protocol is not None:
        instance("protocol", protocol, EvaluationProtocol, "write EvaluationProtocol(...)")
    own = EvaluationProtocol(part=part, at=DEFAULT_LENGTHS if at is None else list_lengths(at))
    protocol = chosen_protocol(own, protocol, dataset, default_at=at is None)
    lists = ListsOfSequences(read_lists(source, by), dataset)
    return rank_in_lists(lists, protocol, options or EvaluationOptions(), name).report


class ListsOfSequences:
    """Ranked lists by sequence and item of a dataset.

    Args:
        lists: Lists by the ids of users and items.
        dataset: Dataset with these ids.

    Raises:
        DataError: No user or no item is in the dataset.
    """

    def __init__(self, lists: ExternalLists, dataset: SequenceDataset) -> None:
        row_L = _find(lists.user, dataset.users, missing=-1)
        known_L = row_L >= 0
        item_L = _find(lists.item, dataset.items.ids, missing=-1) + 1
        _check_known("user_id", lists.user, known_L, dataset.users)
        _check_known("item_id", lists.item, item_L != UNKNOWN, dataset.items.ids)
        order_L = np.argsort(row_L, kind="stable")[int((~known_L).sum()) :]
        self.row_L, self.item_L, self.key_L = row_L[order_L], item_L[order_L], lists.key[order_L]
        listed = int(self.item_L.max(initial=0))
        self.dataset = dataset.scoring(len(dataset.items.ids)) if listed > dataset.items.scored else dataset
        """The dataset; if the lists have items outside the training part, those are candidates too."""
        self.first_U = np.searchsorted(self.row_L, np.arange(len(dataset) + 1))
        """Number of the first listed item of each sequence, and the number of all of them at the end, [U + 1]."""
        self.unknown_users = tuple(dict.fromkeys(lists.user[~known_L].tolist()))
        self.unknown_items = tuple(dict.fromkeys(lists.item[item_L == UNKNOWN].tolist()))

    @property
    def longest(self) -> int:
        """Number of items in the longest list."""
        return int(np.diff(self.first_U).max(initial=0))

    def ranks(self, row_N: AnyArray, position_N: AnyArray) -> TargetRanks:
        """Return the places of targets in the lists of their sequences."""
        items = len(self.dataset.items.ids) + 1
        pair_L, pair_N = self.row_L * items + self.item_L, row_N * items + self.dataset.item[position_N]
        order_L = np.argsort(pair_L, kind="stable")
        place_N = np.searchsorted(pair_L[order_L], pair_N)
        place_N = np.minimum(place_N, len(pair_L) - 1)
        found_N = pair_L[order_L[place_N]] == pair_N
        listed_N = order_L[place_N]
        # places of the first and after the last item with the same rank or score, within the list
        begins_L = np.ones(len(pair_L), dtype=bool)
        begins_L[1:] = (np.diff(self.row_L) != 0) | (np.diff(self.key_L) != 0)
        start_G = np.flatnonzero(begins_L)
        end_G = np.append(start_G[1:], len(pair_L))
        group_N = np.cumsum(begins_L)[listed_N] - 1
        greater_N = np.where(found_N, start_G[group_N] - self.first_U[row_N], MISS)
        equal_N = np.where(found_N, end_G[group_N] - start_G[group_N] - 1, 0)
        return TargetRanks(row_N, position_N, greater_N.astype(np.int32), equal_N.astype(np.int32))

    def top(self, row: int, k: int) -> AnyArray:
        """Return the item indices of the first `k` items of a sequence's list; 0 for an item outside the dataset."""
        first, last = self.first_U[row : row + 2].tolist()
        found: AnyArray = self.item_L[first : min(last, first + k)]
        return found

    def exposure(self, row_N: AnyArray, at: tuple[int, ...]) -> dict[str, Interval]:
        """Return coverage and gini of the lists of some targets at each length."""
        lists_U = np.bincount(row_N, minlength=len(self.dataset))
        place_L = np.arange(len(self.row_L)) - self.first_U[self.row_L]
        times = {}
        for k in at:
            shown_L = (place_L < k) & (self.item_L != UNKNOWN)
            times[k] = np.bincount(
                self.item_L[shown_L] - 1, lists_U[self.row_L[shown_L]], self.dataset.items.scored
            )
        return {
            **{f"coverage@{k}": Interval(float((times_I > 0).mean())) for k, times_I in times.items()},
            **{f"gini@{k}": Interval(gini(times_I)) for k, times_I in times.items()},
        }


def rank_in_lists(
    lists: ListsOfSequences, protocol: EvaluationProtocol, options: EvaluationOptions, name: str
) -> RankedReport:
    """Find the targets in the lists, and return the report with their ranks.

    Raises:
        DataError: The part has no targets.
        ConfigError: A list length is above the catalogue.
    """
    dataset = lists.dataset
    protocol.check_catalogue(dataset.items.scored)
    protocol.check_targets(dataset)
    position_N = protocol.sample_targets(dataset, protocol.count_targets(dataset), options.seed)
    row_N = np.searchsorted(dataset.offset, position_N, side="right") - 1
    ranks = lists.ranks(row_N, position_N)
    if protocol.exclude_seen:
        seen_N = seen_before(dataset, row_N, position_N)
        ranks.greater_N[seen_N], ranks.equal_N[seen_N] = MISS, 0
    sums, metrics, slices = measure_ranks(dataset, ranks, protocol, options, [])
    data = EvaluatedData.of(dataset, row_N, protocol.count_all_targets(dataset))._replace(
        listed=lists.longest
    )
    report = Report(
        name=name,
        metrics=metrics | (lists.exposure(row_N, protocol.at) if options.lists else {}),
        slices=slices,
        protocol=protocol,
        data=data,
        bootstrap=options.bootstrap,
        notes=(*_notes(lists, ranks, protocol), *_target_notes(dataset, ranks, protocol)),
        sums=sums,
    )
    return RankedReport(report, ranks)


def _target_notes(
    dataset: SequenceDataset, ranks: TargetRanks, protocol: EvaluationProtocol
) -> Iterator[str]:
    if protocol.exclude_seen:
        # a miss of a list need not be a seen item, so the note about a model would count too many
        seen_N = seen_before(dataset, ranks.row_N, ranks.position_N)
        yield (
            f"{int(seen_N.sum()):,} of {len(seen_N):,} targets were seen earlier in their sequence, so they count as "
            "misses. Seen items that the lists have keep their places."
        )
    yield from target_notes(dataset, ranks, exclude_seen=False)


def _notes(lists: ListsOfSequences, ranks: TargetRanks, protocol: EvaluationProtocol) -> Iterator[str]:
    dataset, row_N = lists.dataset, ranks.row_N
    without_N = lists.first_U[row_N + 1] == lists.first_U[row_N]
    if without_N.any():
        users = np.unique(row_N[without_N])
        yield (
            f"{len(users):,} of {len(np.unique(row_N)):,} sequences with a target have no list "
            f"({_some(dataset.users[users].tolist())}); their {int(without_N.sum()):,} targets are misses."
        )
    if lists.unknown_users:
        count = len(lists.unknown_users)
        yield f"Users of the lists that are not in the dataset are left out: {count:,} ({_some(lists.unknown_users)})."
    if lists.unknown_items:
        count = len(lists.unknown_items)
        yield (
            f"Items of the lists that are not in the dataset keep their places and count as wrong: {count:,} "
            f"({_some(lists.unknown_items)})."
        )
    if lists.longest < max(protocol.at):
        yield f"The lists have at most {lists.longest} items, so metrics at more than {lists.longest} are too low."
    later = len(row_N) - len(np.unique(row_N))
    if later:
        yield (
            f"{later:,} of {len(row_N):,} targets are not the first of their sequence. Their list was made before the "
            "earlier targets, which a model has in its context."
        )


def _find(text_L: AnyArray, ids: AnyArray, missing: int) -> AnyArray:
    """Return the place of each text among some ids, [L]."""
    place = {str(one): number for number, one in enumerate(ids.tolist())}
    return np.fromiter((place.get(text, missing) for text in text_L.tolist()), np.int64, len(text_L))


def _check_known(column: str, given_L: AnyArray, known_L: AnyArray, ids: AnyArray) -> None:
    if not known_L.any():
        raise DataError(
            f"no value of {column!r} is in the dataset (the lists have {_some(given_L[:EXAMPLES].tolist())}, the dataset "
            f"{_some(ids[:EXAMPLES].tolist())}); use the ids of the original log"
        )


def _some(ids: Iterable[object]) -> str:
    found = [*ids]
    shown = ", ".join(repr(one) for one in found[:EXAMPLES])
    return f"{shown}, ..." if len(found) > EXAMPLES else shown
