"""The choice between an exact and an approximate search when a model is saved, and the check of the latter's recall."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal, get_args

from reprise.argument_checks import mapping, number
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.recommender.artefact.artefact import Artefact, vectors_checksum
from reprise.recommender.artefact.loading import open_network
from reprise.recommender.artefact.model_card import PRIVACY, ReportLike, report_facts
from reprise.recommender.artefact.sampled_queries import sampled_queries
from reprise.recommender.search.approximate_index import TUNED_K, ApproximateIndex
from reprise.recommender.search.inverted_file import INSTALL, InvertedFile, is_installed
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.search.quantized_vectors import MAX_MAGNITUDE, max_magnitude
from reprise.recommender.search.recall import choose_parameters, measured_recall

SearchName = Literal["auto", "exact", "approximate"]
"""How a saved model finds the best items."""
AUTO: SearchName = "auto"
APPROXIMATE: SearchName = "approximate"
RECALL = 0.98
"""Share of the 20 best items that an approximate search is to find, unless the caller says otherwise."""
FLOOR = 0.9
"""Recall below which no approximate search is saved."""
AUTO_ITEMS = 1_000_000
"""Number of items up to which `auto` is exact (benchmarks/search.py)."""
MIN_ITEMS = 2_000
"""Number of items from which an approximate search can be built."""
SAMPLED, CHECKED = 1024, 256
"""Number of sampled queries, and of those that choose the parameters; as many others measure the recall."""


def described_artefact(
    artefact: Artefact, report: Mapping[str, Any] | ReportLike | None, attribution: Mapping[str, str] | None
) -> Artefact:
    """Return an artefact with an evaluation and texts for the model card; see `Recommender.save`.

    Raises:
        ConfigError: `report` is not a report or the model is private, or `attribution` is not a mapping.
    """
    if attribution is not None:
        mapping("attribution", attribution, "pass texts by name, such as {'licence': 'MIT'}")
    if report is not None and PRIVACY in artefact.metadata:
        raise ConfigError(
            "report: the metrics of a model with differential privacy were computed from events without noise, so they are "
            "not saved with it; leave out the report"
        )
    return artefact.with_metadata(report=report_facts(report), attribution=attribution)


def with_search(
    artefact: Artefact, dataset: SequenceDataset | None, search: SearchName = AUTO, recall: float = RECALL
) -> Artefact:
    """Return an artefact with the search that it will be saved with.

    Args:
        artefact: The model.
        dataset: Dataset whose users are sampled; None: histories are drawn by the popularity of items.
        search: `exact`, `approximate`, or `auto`: that of a loaded model; approximate for more than `AUTO_ITEMS` items, if
            that is possible; otherwise exact.
        recall: Wanted recall of the 20 best items.

    Raises:
        ConfigError: an argument is not valid, faiss is not installed, there are too few items or queries, or the recall is
            below `FLOOR`.
    """
    if search not in get_args(SearchName):
        raise ConfigError(f"search must be exact, approximate or auto, got {search!r}")
    if not FLOOR <= number("recall", recall) < 1:
        raise ConfigError(
            f"recall must be from {FLOOR} to below 1, got {recall!r}; a recall of 1 is the search exact"
        )
    if search == AUTO and artefact.lists is not None:
        return artefact  # it was loaded with this search
    if search == APPROXIMATE:
        return _approximate(artefact, dataset, recall)
    if search == AUTO and artefact.scored > AUTO_ITEMS:
        if not is_installed():
            warnings.warn(
                f"the search among {artefact.scored} items is exact, which is slow, because faiss is not installed: "
                f"{INSTALL}, and save or export the model again",
                stacklevel=3,
            )
        else:
            try:
                return _approximate(artefact, dataset, recall)
            except ConfigError as error:
                warnings.warn(f"the search is exact: {error}", stacklevel=3)
    return artefact.with_search(None, None)


def _approximate(artefact: Artefact, dataset: SequenceDataset | None, recall: float) -> Artefact:
    vectors_ID = artefact.output_ID
    if len(vectors_ID) < MIN_ITEMS:
        raise ConfigError(
            f"an approximate search needs at least {MIN_ITEMS} items, the model has {len(vectors_ID)}; "
            "choose exact, which is fast for them"
        )
    if max_magnitude(vectors_ID) >= MAX_MAGNITUDE:
        raise ConfigError(
            f"an approximate search needs vectors with numbers below {MAX_MAGNITUDE:g}; choose exact"
        )
    query_ND, histories = sampled_queries(open_network(artefact), artefact.items, dataset, SAMPLED)
    checked = min(CHECKED, len(query_ND) // 2)
    if not checked:
        raise ConfigError("no history of the dataset has a query to check the search with; choose exact")
    lists = InvertedFile.build(vectors_ID, query_ND[checked:])
    best_NK, _ = QuantizedIndex(vectors_ID).search(query_ND[: 2 * checked], TUNED_K)
    chosen = choose_parameters(
        lists, len(vectors_ID), query_ND[checked : 2 * checked], best_NK[checked:], recall
    )
    index = ApproximateIndex(vectors_ID, lists, chosen)
    found = measured_recall(index, query_ND[:checked], best_NK[:checked])
    if found < FLOOR:
        raise ConfigError(
            f"the approximate search finds {found:.3f} of the {TUNED_K} best items, at least {FLOOR} is needed; "
            "export the model with the search exact"
        )
    facts: dict[str, Any] = {
        "method": APPROXIMATE, "lists": lists.lists, "read lists": chosen.lists, "candidates": chosen.candidates,
        f"recall@{TUNED_K}": round(found, 4), "wanted recall": recall, "queries": checked, "histories": histories,
        "vectors": vectors_checksum(vectors_ID),
    }  # fmt: skip
    return artefact.with_search(lists, facts)
