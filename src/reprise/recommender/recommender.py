"""The recommender: a trained network that speaks the caller's ids.

It always runs the exported artefact, so the same question has the same answer before it is saved and after it is loaded.
Torch is imported only to make one from a network.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import ItemId, Vocabulary
from reprise.recommender.artefact.artefact import Artefact, read, write
from reprise.recommender.explain import influences
from reprise.recommender.generate import DecodingOptions, continue_history
from reprise.recommender.history import History, HistoryLike, Timestamp, asked_s, read_history
from reprise.recommender.items.candidate_mask import Filters, read_filters
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.ranker import HistorySummary, Ranker, check_count, check_k
from reprise.recommender.recommendations import Continuation, Influence, Recommendations
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.search.mmr import check_diversity, directions
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.self_check import ask
from reprise.recommender.session import Session

ROWS = 1024
"""Histories that are folded together, at most."""
CELLS = 2**25
"""Entries of a mask of users by items, at most (unless one user has more)."""
WORDS = {"time_s": "timestamp", "kind": "kind", "value": "value", "now_s": "now"}
"""What the graphs read, in the words of a caller."""


class ReportLike(Protocol):
    """What an evaluation returns."""

    def to_dict(self) -> dict[str, Any]:
        """`name`, `metrics`, `targets`, `slices` and `protocol`."""
        ...


class Recommender:
    """Next-item recommendations from a trained network. Safe to call from several threads."""

    artefact: Artefact
    """What it runs."""

    def __init__(
        self, model: object, dataset: SequenceDataset, *, training: Mapping[str, Any] | None = None
    ) -> None:
        """Export a trained network; this takes a few seconds.

        Args:
            model: The network that `reprise.train` returned.
            dataset: What it was trained on.
            training: Facts about the training, for the model card.

        Raises:
            ConfigError: the model is not a network, or not one for this dataset.
            ArtefactError: the exported network would answer differently from the trained one.
        """
        from reprise.recommender.artefact.onnx_export import export

        self._open(export(model, dataset, training), trusted=True)
        self.artefact = self.artefact.with_facts(golden=ask(self))

    @classmethod
    def load(cls, path: str | Path, trusted: bool = False) -> "Recommender":
        """Open what `save` wrote. Every file is verified, and none of them is code.

        Args:
            path: The directory.
            trusted: Whether `spec` may import classes from outside the package; answers never need them.

        Raises:
            ArtefactError: a file is missing, truncated or altered, or of another format.
        """
        return cls.of(read(Path(path)), trusted=trusted)

    @classmethod
    def of(cls, artefact: Artefact, trusted: bool = False) -> "Recommender":
        """A recommender that runs an artefact in memory."""
        recommender = cls.__new__(cls)
        recommender._open(artefact, trusted)
        return recommender

    def _open(self, artefact: Artefact, trusted: bool) -> None:
        self._trusted = trusted
        self._made: list[QuantizedIndex] = []  # once for all recommenders that share the network
        self._network = OnnxNetwork.open(artefact)
        kinds = tuple(artefact.facts["data"]["kinds"]) if "kind" in self.reads else ()
        self._catalogue = Catalogue(artefact.items, warm=len(artefact.output_ID), kinds=kinds)
        self._ranker = Ranker(self._catalogue, self._network, QuantizedIndex(artefact.output_ID))
        self.artefact = artefact

    def save(
        self,
        path: str | Path,
        report: Mapping[str, Any] | ReportLike | None = None,
        *,
        attribution: Mapping[str, str] | None = None,
    ) -> None:
        """Write the artefact as a directory. A saved model that lies there is replaced in one move.

        Args:
            path: The directory.
            report: An evaluation of this model, for the model card.
            attribution: `data`, `licence`, `citation`, `author`, `contact`: whom to name, for the model card.

        Raises:
            ArtefactError: something that is no saved model lies there, or the disk does not take it.
        """
        told = report if report is None or isinstance(report, Mapping) else report.to_dict()
        write(self.artefact.with_facts(report=told, attribution=attribution), Path(path))

    @property
    def name(self) -> str:
        """How tables and reports call the network."""
        return str(self.artefact.facts["name"])

    @property
    def spec(self) -> Any:
        """The spec the network was built from.

        Raises:
            ConfigError: its class lies outside the package and the model was not loaded with `trusted=True`.
        """
        from reprise.config import from_dict  # with it comes pydantic, which no answer needs

        return from_dict(self.artefact.facts["spec"], trusted=self._trusted)

    @property
    def items(self) -> Vocabulary:
        """The ids it knows; the first `items.warm` of them can be recommended."""
        return self._catalogue.items

    @property
    def reads(self) -> tuple[str, ...]:
        """What its answers depend on besides items and their order: some of `timestamp`, `kind`, `value` and `now`."""
        return tuple(WORDS[name] for name in self._network.runtime.reads if name in WORDS)

    @property
    def ranker(self) -> Ranker:
        """The network, the catalogue and the search behind the answers, for those who keep states themselves."""
        return self._ranker

    def with_items(self, changes: Mapping[ItemId, Mapping[str, Any]]) -> "Recommender":
        """A recommender whose items have these values in these columns (None: no value); it shares all that stays the same.

        Raises:
            DataError: an id is unknown, or a value does not fit its column.
        """
        other = copy(self)
        other._catalogue = self._catalogue.with_items(changes)
        other._ranker = replace(self._ranker, catalogue=other._catalogue)
        return other

    def __repr__(self) -> str:
        return f"Recommender({self.name!r}, {self.items.warm} items)"

    def recommend(
        self,
        history: HistoryLike,
        k: int = 10,
        *,
        deny: Iterable[ItemId] = (),
        allow: Iterable[ItemId] | None = None,
        exclude_seen: bool = False,
        now: Timestamp | None = None,
        filter: Mapping[str, Any] | None = None,
        diversity: float = 0.0,
    ) -> Recommendations:
        """What may come next.

        Args:
            history: The events so far, oldest first: item ids, (item id, timestamp) pairs, or mappings with `item_id` and
                perhaps `timestamp`, `kind` and `value`. Events of unknown items are skipped and counted.
            k: How many items to answer, at most.
            deny: Items not to answer.
            allow: The only items to answer; None: all.
            exclude_seen: Whether to leave out the items of the history.
            now: The moment for which the answer is, as a timestamp; None: not known, and nothing is supposed.
            filter: Conditions on columns of the item table, all of which must hold: a value (equal), a list of values (one
                of them), `{"min": 5, "max": 20}` (a range with its ends; one of them is enough) or `{"not": ...}` (none
                of). An item without a value fulfils no condition on it. Items whose `available` is false are never
                answered, unless the filter names `available`.
            diversity: From 0, the plain ranking, to 1: how much being unlike the answers before counts beside the score
                (maximal marginal relevance, Carbonell & Goldstein 1998). The answers then stand in the order of choice, which
                is not that of their scores.

        Raises:
            ConfigError: `k` is below 1 or above the number of items, or `diversity` is not from 0 to 1.
            DataError: the history, a list or the filter cannot be read, or `now` is before the last event.
        """
        (answer,) = self.recommend_many(
            [history],
            k,
            deny=deny,
            allow=allow,
            exclude_seen=exclude_seen,
            now=now,
            filter=filter,
            diversity=diversity,
        )
        return answer

    def recommend_many(
        self,
        histories: Iterable[HistoryLike],
        k: int = 10,
        *,
        deny: Iterable[ItemId] = (),
        allow: Iterable[ItemId] | None = None,
        exclude_seen: bool = False,
        now: Timestamp | None = None,
        filter: Mapping[str, Any] | None = None,
        diversity: float = 0.0,
    ) -> list[Recommendations]:
        """`recommend` for many users at once, in the order of `histories`. Histories of like length run together."""
        check_k(k, self._catalogue.warm)
        check_diversity(diversity)
        filters = read_filters(self._catalogue, deny, allow, exclude_seen, filter)
        read_B = [read_history(history, self._catalogue) for history in histories]
        last_s = max((read.last_s for read in read_B if not isnan(read.last_s)), default=nan)
        now_s = asked_s(now, last_s)
        order_B = sorted(range(len(read_B)), key=lambda row: -len(read_B[row]))
        rows = max(1, min(ROWS, CELLS // self._catalogue.warm))
        answers = [Recommendations()] * len(read_B)
        for start in range(0, len(order_B), rows):
            group = order_B[start : start + rows]
            ranked = self._rank([read_B[row] for row in group], k, filters, now_s, diversity)
            for row, answer in zip(group, ranked, strict=True):
                answers[row] = answer
        return answers

    def similar_items(self, item_id: ItemId, k: int = 10) -> Recommendations:
        """The items whose vectors point in the most similar direction; the score is the cosine.

        Items whose `available` is false are not answered.

        Raises:
            ConfigError: `k` is below 1 or above the number of other items.
            DataError: the item is unknown, or has no vector.
        """
        index = self._catalogue.index(item_id)
        check_k(k, self._catalogue.warm - 1, "the {} other items that can be recommended")
        others_I = np.ones(self._catalogue.warm, dtype=np.bool_)
        others_I[index - 1] = False
        if self._catalogue.available_I is not None:
            others_I &= self._catalogue.available_I
        unit_1D = self._directions.vectors_ID[index - 1 : index]
        index_Bk, score_Bk = self._directions.search(unit_1D, k, others_I)
        return Recommendations(self._ranker.name(index_Bk[0], score_Bk[0], f"similar to {item_id}"))

    def session(self, *, remember_seen: bool = False) -> Session:
        """A visit that begins now: each event and each answer costs the same, and no history is kept.

        Args:
            remember_seen: Keep the set of items seen, which `exclude_seen` needs.
        """
        return Session(self._ranker, remember_seen=remember_seen)

    def explain(
        self, history: HistoryLike, item: ItemId, *, now: Timestamp | None = None, last: int | None = None
    ) -> list[Influence]:
        """How much each event of the history moved the score of `item`, in the order of the history.

        Exact, by leaving each event out in turn; the cost grows with the square of the events that are left out. Influences
        need not add up to the score: events work together.

        Args:
            history: As for `recommend`.
            item: Whose score.
            now: As for `recommend`.
            last: Tell only of the last so many known events; None: of all.

        Raises:
            ConfigError: `last` is below 1.
            DataError: the item is unknown, or has no vector; or what `recommend` refuses.
        """
        if last is not None:
            check_count("last", last)
        target = self._catalogue.index(item)
        read = read_history(history, self._catalogue)
        influence_T1 = influences(
            self._network, read.events, np.array([target]), asked_s(now, read.last_s), last
        )
        told = slice(len(read) - len(influence_T1), None)
        rows = zip(
            self.items.item_ids(read.events.item[told]),
            read.position_T[told].tolist(),
            influence_T1[:, 0].tolist(),
            strict=True,
        )
        return [Influence(*row) for row in rows]

    def generate(
        self,
        history: HistoryLike,
        length: int = 5,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        no_repeat: bool = True,
        seed: int | None = None,
        beams: int | None = None,
    ) -> Continuation:
        """A continuation of the history: a plausible one by drawing, or the likeliest one by beam search.

        Each chosen item is read before the next is chosen; those whose `available` is false are not chosen. Drawing applies
        `temperature`, then `top_k`, then `top_p`.

        Args:
            history: As for `recommend`; without a known event the first item is chosen by popularity.
            length: How many items to choose.
            temperature: Scores are divided by it before the softmax; 0 always takes the best.
            top_k: Draw from the best so many only.
            top_p: Draw from the fewest items, best first, that together have this share of the probability (nucleus
                sampling, Holtzman et al. 2020).
            no_repeat: Choose no item twice. Items of the history may be chosen.
            seed: The same seed draws the same items.
            beams: Draw nothing, and keep so many paths in the search for the one with the largest product of
                probabilities. 1 always takes the best; more find likelier paths and cost as much more. Of equally
                likely paths the one whose items come first in the vocabulary is kept.

        Raises:
            ConfigError: an option has an impossible value, `length` is above the items that can be chosen, or `beams` stands
                beside an option that is for drawing.
        """
        choice = DecodingOptions(temperature, top_k, top_p, no_repeat, seed, beams)
        read = read_history(history, self._catalogue)
        catalogue = self._catalogue
        path = continue_history(
            self._network, read.events, length, choice, catalogue.popularity_I, catalogue.available_I
        )
        return Continuation(self.items.item_ids(path.index_L), path.log_probability_L)

    def _rank(
        self, histories: Sequence[History], k: int, filters: Filters, now_s: float, diversity: float
    ) -> list[Recommendations]:
        state = self._network.fold([history.events for history in histories])
        past_B = [HistorySummary(len(history), history.skipped, history.events.item) for history in histories]
        return self._ranker.rank(state, past_B, k, filters, now_s, diversity)

    @property
    def _directions(self) -> QuantizedIndex:
        if not self._made:
            self._made.append(QuantizedIndex(directions(self._network.input_ID)))
        return self._made[0]
