"""The recommender: a saved model, used with the caller's ids. Torch is imported only to create one from a network."""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from reprise.argument_checks import file_path, flag, instance, mapping, whole
from reprise.data.dataset import SequenceDataset
from reprise.data.history_rules import HistoryRules
from reprise.data.vocabulary import ItemId, Vocabulary
from reprise.recommender.artefact.artefact import Artefact, write
from reprise.recommender.artefact.model_card import PRIVACY, ReportLike
from reprise.recommender.artefact.reading import read, usable
from reprise.recommender.artefact.search_choice import (
    AUTO,
    RECALL,
    SearchName,
    described_artefact,
    with_search,
)
from reprise.recommender.artefact.signature import PublicKeyLike, SigningKeyLike
from reprise.recommender.explain import columns_after_history, influences_of_events
from reprise.recommender.exploration import exploration_of
from reprise.recommender.forecaster import Forecast, Forecaster
from reprise.recommender.generate import DecodingOptions, generate_after
from reprise.recommender.history import History, HistoryLike, Timestamp, read_history, time_after
from reprise.recommender.item_changes import open_ranker
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.items.list_arguments import history_list, id_list
from reprise.recommender.option_checks import at_most
from reprise.recommender.rank_histories import rank_histories
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommend_frame import FrameRecommendations
from reprise.recommender.recommendations import ColumnContribution, Continuation, Influence, Recommendations
from reprise.recommender.search.approximate_index import exact_index
from reprise.recommender.search.mmr import check_diversity
from reprise.recommender.self_check import GOLDEN, check_each_kind, make_golden_tests, run_golden_tests
from reprise.recommender.session import Session
from reprise.recommender.similar_items import SimilarItems


class Recommender(FrameRecommendations):
    """Next-item recommendations from a trained network. Safe to call from several threads."""

    artefact: Artefact
    """Saved model that the recommender runs, in memory."""

    def __init__(
        self, model: object, dataset: SequenceDataset, *, training: Mapping[str, Any] | None = None
    ) -> None:
        """Export a trained network. This takes a few seconds.

        Args:
            model: Network that `reprise.train` returned.
            dataset: Dataset the network was trained on.
            training: Description of the training, for the model card.

        Raises:
            ConfigError: the model is not a network, or was built for another dataset.
            ArtefactError: the exported network computes other scores than the trained one.
        """
        from reprise.recommender.artefact.onnx_export import export

        instance("dataset", dataset, SequenceDataset, "open it with `SequenceDataset.open`")
        if training is not None:
            mapping("training", training, "pass a dictionary")
        self._open(export(model, dataset, training), True, dataset)
        self.artefact = self.artefact.with_metadata(golden=self._make_golden_tests())

    @classmethod
    def load(cls, path: str | Path, trusted: bool = False, verify: PublicKeyLike = None) -> "Recommender":
        """Load a saved model. The checksum of every file is verified, and no file contains code.

        Args:
            path: Directory that `save` wrote.
            trusted: Whether `spec` may import classes from outside the package. Recommendations never need them.
            verify: Public key, or its file, of the signature that the model must have; None: a signature is not needed.

        Raises:
            ArtefactError: a file or the signature is missing, altered or does not fit the others, a score is not finite, the
                format version cannot be read, or the search needs faiss, which is not installed.
        """
        folder = file_path("path", path)
        artefact = read(folder, verify)
        with usable(folder):
            recommender = cls.of(artefact, trusted=trusted)
            check_each_kind(recommender.ranker.network, len(artefact.metadata["data"]["kinds"]))
        return recommender

    @classmethod
    def of(cls, artefact: Artefact, trusted: bool = False) -> "Recommender":
        """Return a recommender that runs an artefact in memory. For `trusted` see `load`."""
        recommender = cls.__new__(cls)
        recommender._open(artefact, trusted)
        return recommender

    def _open(self, artefact: Artefact, trusted: bool, dataset: SequenceDataset | None = None) -> None:
        self._trusted, self._dataset = trusted, None if PRIVACY in artefact.metadata else dataset
        self._similarity = SimilarItems(artefact)
        self._ranker, self._changer = open_ranker(artefact)
        self._rules = artefact.history_rules
        self.artefact, self.heads = artefact, artefact.forecast

    def save(
        self,
        path: str | Path,
        report: Mapping[str, Any] | ReportLike | None = None,
        *,
        attribution: Mapping[str, str] | None = None,
        search: SearchName = AUTO,
        recall: float = RECALL,
        sign: SigningKeyLike = None,
    ) -> Artefact:
        """Write the model to a directory, and return it as it was saved. A model at this path is replaced by a rename.

        Args:
            path: Directory to write.
            report: Evaluation of this model, for the model card.
            attribution: Texts for the model card: `data`, `licence`, `citation`, `author`, `contact`.
            search: Search of the saved model: `exact`, `approximate` (needs faiss) or `auto`, exact up to a million items.
            recall: Share of the 20 best items that an approximate search is to find.
            sign: Private key, or its file, that signs the model; None: it is not signed.

        Raises:
            ConfigError: an argument is invalid, or an approximate search cannot be built or finds too few of the best items.
            ArtefactError: the path holds something else than a saved model, or a file cannot be written.
        """
        folder, described = file_path("path", path), described_artefact(self.artefact, report, attribution)
        return write(with_search(described, self._dataset, search, recall), folder, sign)

    def self_check(self) -> None:
        """Run the golden tests that were saved with the model. Without them, check that scores are finite.

        Raises:
            ArtefactError: a result differs from the one at export, or has scores that are not finite.
        """
        if golden := self.artefact.metadata.get(GOLDEN):
            exact = self.with_ranker(replace(self._ranker, index=exact_index(self._ranker.index)))
            run_golden_tests(exact.recommend, self.items, golden)
        else:
            self._make_golden_tests()

    def _make_golden_tests(self) -> list[dict[str, Any]]:
        kinds, gap_ms = self.artefact.metadata["data"]["kinds"], self._rules.session_gap_ms
        return make_golden_tests(self.recommend, self.items, kinds, self.reads, gap_ms)

    @property
    def name(self) -> str:
        """Name of the network in tables and reports."""
        return str(self.artefact.metadata["name"])

    @property
    def spec(self) -> Any:
        """Spec that the network was built from.

        Raises:
            ConfigError: its class is outside the package, and the model was not loaded with `trusted=True`.
        """
        from reprise.config import from_dict  # imports pydantic, which recommendations do not need

        return from_dict(self.artefact.metadata["spec"], trusted=self._trusted, stored=True)

    @property
    def items(self) -> Vocabulary:
        """Ids of the items of the model. The first `items.scored` of them can be recommended."""
        return self._ranker.catalogue.items

    @property
    def reads(self) -> tuple[str, ...]:
        """Inputs besides the items and their order: some of `timestamp`, `kind`, `value` and `now`."""
        return self._ranker.reads

    @property
    def history_rules(self) -> HistoryRules:
        """Rules by which `prepare` cleaned the log. Histories and sessions are cleaned by the same rules."""
        return self._rules

    @property
    def ranker(self) -> Ranker:
        """Network, catalogue and search, for callers that keep states themselves."""
        return self._ranker

    def with_items(
        self, changes: Mapping[ItemId, Mapping[str, Any]], *, skip_undescribed: bool = False
    ) -> "Recommender":
        """Return a recommender with changed or added items. It shares everything else with this one.

        If the model reads the content of items, an item without training events gets the vector of its new values, and items
        that the model does not know are added.

        Args:
            changes: For each item the columns to change, with their new values; None removes a value.
            skip_undescribed: Whether an unknown item without a value in any column that the model reads is left out, instead
                of an error.

        Raises:
            DataError: an id is unknown and the item cannot be added, or a value does not fit its column.
        """
        return self.with_ranker(self._changer.with_items(self._ranker, changes, skip_undescribed))

    def without_items(self, item_ids: Iterable[ItemId]) -> "Recommender":
        """Return a recommender without some of the items that `with_items` added.

        Raises:
            DataError: an item was not added.
        """
        return self.with_ranker(self._changer.without_items(self._ranker, id_list("item_ids", item_ids)))

    def with_exploration(self, share: float, seed: int | None = None) -> "Recommender":
        """Return a recommender that gives a share of the slots, from 0 to 1, to rarely shown items (`propensity`)."""
        return self.with_ranker(replace(self._ranker, exploration=exploration_of(share, seed)))

    def without_columns(self, names: Iterable[str]) -> "Recommender":
        """Return a recommender without the changes that `with_items` made to these columns of items."""
        catalogue = self._ranker.catalogue.without_columns(names)
        return self.with_ranker(replace(self._ranker, catalogue=catalogue))

    def with_ranker(self, ranker: Ranker) -> "Recommender":
        """Return a recommender with another ranker, which was made from that of this one."""
        other = copy(self)
        other._ranker = ranker
        return other

    def __repr__(self) -> str:
        return f"Recommender({self.name!r}, {self._ranker.catalogue.recommendable} items)"

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
        """Return the items that are most likely to come next, best first.

        Args:
            history: Events of the user, oldest first: item ids, (item id, timestamp) pairs, or mappings with `item_id` and
                optionally `timestamp`, `kind` and `value`. Those of unknown items are skipped. `UserHistory` has attributes.
            k: Number of items to return; fewer if fewer items exist or pass the lists and the filter.
            deny: Items that must not be returned.
            allow: Items that may be returned; None: all items.
            exclude_seen: Whether to leave out the items of the history.
            now: Time of the request, as a timestamp; None: not known, and no time is assumed.
            filter: Conditions on columns, all of which must hold: a value (equal), a list (one of the values),
                `{"min": 5, "max": 20}` (a range with its ends; one is enough) or `{"not": ...}` (none of the values). An item
                without a value meets no condition. Items whose `available` is false need a filter that names `available`.
            diversity: Weight of dissimilarity to the items already chosen, from 0, the plain ranking, to 1 (maximal marginal
                relevance, Carbonell & Goldstein 1998). Above 0 the items are in the order of choice, not of their scores.

        Raises:
            ConfigError: `k` is not a whole number above 0, `diversity` not from 0 to 1, or `exclude_seen` not a bool.
            DataError: the history, a list or the filter cannot be read, or `now` is before the last event.
        """
        (result,) = self.recommend_many(
            [history], k, deny=deny, allow=allow, exclude_seen=exclude_seen, now=now, filter=filter, diversity=diversity
        )  # fmt: skip
        return result

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
        """Return the result of `recommend` for each of many histories, in their order; faster than one call for each."""
        k = at_most(k, self._ranker.catalogue.recommendable)
        check_diversity(diversity)
        flag("exclude_seen", exclude_seen)
        filters = read_filters(self._ranker.catalogue, deny, allow, exclude_seen, filter)
        read_B = [self._read(history) for history in history_list(histories)]
        return rank_histories(self._ranker, read_B, k, filters, time_after(read_B, now), diversity)

    def similar_items(self, item_id: ItemId, k: int = 10) -> Recommendations:
        """Return the items with the largest cosine similarity of input vectors; the score is the cosine.

        Items whose `available` is false are not returned. Fewer than `k` are returned if there are fewer other items.

        Raises:
            ConfigError: `k` is not a whole number of at least 1.
            DataError: the item is unknown, or has no vector.
        """
        return self._similarity.search(self._ranker, item_id, k)

    def session(self, *, remember_seen: bool = False) -> Session:
        """Start a session without events. Each event and each request takes the same time, and no history is kept.

        Args:
            remember_seen: Whether to keep the set of items seen, which `exclude_seen` needs.
        """
        flag("remember_seen", remember_seen)
        return Session(self._ranker, self.history_rules, remember_seen=remember_seen)

    def explain(
        self, history: HistoryLike, item: ItemId, *, now: Timestamp | None = None, last: int | None = None
    ) -> list[Influence]:
        """Return the influence of each known event of the history on the score of an item, in the order of the history.

        The influence is the score minus the score without the event. It is exact; the time grows with the square of the number
        of events that are left out in turn. The influences need not add up to the score, because events interact.

        Args:
            history: As for `recommend`.
            item: Item whose score is explained.
            now: As for `recommend`.
            last: Number of last known events to explain; None: all of them.

        Raises:
            ConfigError: `last` is below 1.
            DataError: the item is unknown or has no vector, the history cannot be read, or `now` is before the last event.
        """
        if last is not None:
            whole("last", last, high=inf)
        target, read = self._ranker.catalogue.index(item), self._read(history)
        return influences_of_events(self._ranker, read, target, time_after([read], now), last)

    def explain_columns(
        self, history: HistoryLike, item: ItemId, *, now: Timestamp | None = None
    ) -> list[ColumnContribution]:
        """Return how much each column with a value adds to the score of an item, largest amounts first.

        The learned vector, the bias and counts of events add the rest. The list is empty if the model does not read content,
        or the history has no known event. For the arguments see `explain`.

        Raises:
            DataError: as for `explain`, or a file that a column names cannot be read.
        """
        target, read = self._ranker.catalogue.index(item), self._read(history)
        return columns_after_history(self._ranker, read, target, time_after([read], now))

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
        """Generate items that could follow the history: random ones by sampling, or the most probable ones by beam search.

        Each generated item is read as an event before the next one is chosen. Items whose `available` is false are not chosen.
        Sampling applies `temperature`, then `top_k`, then `top_p`.

        Args:
            history: As for `recommend`. Without a known event the first item is chosen by popularity.
            length: Number of items to generate.
            temperature: Number that divides the scores before the softmax; 0 always chooses the best item.
            top_k: Number of best items to sample from; None: all items.
            top_p: Sample from the fewest best items with this probability (nucleus sampling, Holtzman et al. 2020); None: all.
            no_repeat: Whether no item is generated twice. Items of the history can be generated.
            seed: Seed of the random numbers; the same seed gives the same items.
            beams: Number of paths that a beam search keeps, instead of sampling; 1 always chooses the best item. Among equally
                probable paths, the one whose items come first in the vocabulary is kept.

        Raises:
            ConfigError: an option is out of range, fewer items can be chosen, or `beams` is combined with a sampling option.
        """
        options = DecodingOptions(temperature, top_k, top_p, no_repeat, seed, beams)
        return generate_after(self._ranker, self._read(history), length, options)

    def forecast(self, history: HistoryLike, length: int = 3, *, now: Timestamp | None = None) -> Forecast:
        """Return the forecast after one history; see `forecast_many`."""
        return self.forecast_many([history], length, now=now)[0]

    def forecast_many(
        self, histories: Iterable[HistoryLike], length: int = 3, *, now: Timestamp | None = None
    ) -> list[Forecast]:
        """Return the kind of the next event, the time until it, and a likely path of `length` events, for each history.

        If `now`, the time of the request, is known, each forecast uses that no event has come until then.

        Raises:
            ConfigError: the model has no forecast heads, or `length` is not a whole number of at least 0.
            DataError: a history cannot be read, or `now` is before the last event of one.
        """
        read_B = [self._read(history) for history in history_list(histories)]
        now_s = time_after(read_B, now)
        return Forecaster.of(self._ranker, self.heads).after_histories(read_B, length, now_s)

    def _read(self, history: HistoryLike) -> History:
        return read_history(history, self._ranker.catalogue, self._rules)
