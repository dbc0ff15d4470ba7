"""Opening of an artefact: its network, and the searches over its item vectors."""

from dataclasses import replace

import numpy as np

from reprise.errors import ArtefactError
from reprise.recommender.artefact.artefact import SEARCH, Artefact
from reprise.recommender.runtime.cooccurrence_tables import CooccurrenceTables
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import OnnxSession
from reprise.recommender.runtime.repeat_tables import RepeatTables
from reprise.recommender.search.approximate_index import ApproximateIndex, SearchParameters
from reprise.recommender.search.exact_index import ExactIndex
from reprise.recommender.search.mmr import unit_vectors
from reprise.recommender.search.quantized_index import QuantizedIndex


def open_network(artefact: Artefact) -> OnnxNetwork:
    """Return the network of an artefact.

    Raises:
        ArtefactError: a graph cannot be read, or does not fit the vectors and the initial state.
    """
    network = OnnxNetwork(
        OnnxSession(artefact.step, artefact.query, artefact.initial, make_scan=_scan),
        artefact.input_ID,
        artefact.output_ID,
        CooccurrenceTables.from_tensors(artefact.cooccurrence),
        RepeatTables.from_tensors(artefact.repeats),
        users=artefact.user_map,
    )
    if len(artefact.input_ID):
        _check_one_event_of_each_kind(network, len(artefact.metadata["data"]["kinds"]))
    return network


def _check_one_event_of_each_kind(network: OnnxNetwork, kinds: int) -> None:
    """Raise `ArtefactError` if the graphs cannot read an event of each kind, or change the shape or type of the state."""
    before = network.runtime.initial_state(kinds)
    events = replace(EventArrays.of_items(np.ones(kinds)), kind=np.arange(kinds))
    try:
        with np.errstate(all="ignore"):  # `check_each_kind` reports numbers that are not finite
            after = network.advance(before, events)
            scores = network.scores_of(after, np.ones(1, dtype=np.int64), ExactIndex(network.output_ID))
    except Exception as error:  # onnxruntime and numpy raise different classes for each kind of failure
        reason = " ".join(str(error).split())
        raise ArtefactError(
            f"the graphs do not fit the other files ({reason}); export the model again"
        ) from error
    for name, array in before.items():
        if (array.shape, array.dtype) != (after[name].shape, after[name].dtype):
            raise ArtefactError(
                f"the graph of the step changes the state {name!r} from {array.dtype} {array.shape} to "
                f"{after[name].dtype} {after[name].shape}; export the model again"
            )
    if scores.shape != (kinds, 1):
        raise ArtefactError(f"the graphs compute scores of the shape {scores.shape}; export the model again")


def _scan(step: bytes) -> bytes:
    # imported here: onnx takes 0.25 s and 12 MB, and is needed for long histories only
    from reprise.recommender.artefact.scan_graph import scan_graph

    return scan_graph(step)


def open_index(artefact: Artefact) -> QuantizedIndex | ApproximateIndex:
    """Return the search over the output vectors, whose products with a query are scores."""
    if artefact.lists is None:
        return QuantizedIndex(artefact.output_ID)
    facts = artefact.metadata[SEARCH]
    parameters = SearchParameters(facts["read lists"], facts["candidates"])
    return ApproximateIndex(artefact.output_ID, artefact.lists, parameters)


def open_similarity_index(artefact: Artefact) -> QuantizedIndex:
    """Return the search over the directions of the input vectors, whose products are cosines."""
    return QuantizedIndex(unit_vectors(artefact.input_ID))
