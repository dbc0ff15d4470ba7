"""Opening of an artefact: its network, and the searches over its item vectors."""

import numpy as np

from reprise.errors import ArtefactError
from reprise.recommender.artefact.artefact import Artefact
from reprise.recommender.runtime.cooccurrence_tables import CooccurrenceTables
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import OnnxSession
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
    )
    if len(artefact.input_ID):
        _check_one_event(network)
    return network


def _check_one_event(network: OnnxNetwork) -> None:
    """Raise `ArtefactError` if the graphs cannot read one event, or change the shape or type of the state."""
    before = network.runtime.initial_state(1)
    try:
        after = network.advance(before, EventArrays.of_items(np.ones(1)))
        scores = network.scores_of(after, np.ones(1, dtype=np.int64))
    except Exception as error:  # onnxruntime and numpy raise different classes for each kind of failure
        raise ArtefactError(
            f"the graphs do not fit the other files ({error}); export the model again"
        ) from error
    for name, array in before.items():
        if (array.shape, array.dtype) != (after[name].shape, after[name].dtype):
            raise ArtefactError(
                f"the graph of the step changes the state {name!r} from {array.dtype} {array.shape} to "
                f"{after[name].dtype} {after[name].shape}; export the model again"
            )
    if scores.shape != (1, 1):
        raise ArtefactError(f"the graphs compute scores of the shape {scores.shape}; export the model again")


def _scan(step: bytes) -> bytes:
    # imported here: onnx takes 0.25 s and 12 MB, and is needed for long histories only
    from reprise.recommender.artefact.scan_graph import scan_graph

    return scan_graph(step)


def open_index(artefact: Artefact) -> QuantizedIndex:
    """Return the search over the output vectors, whose products with a query are scores."""
    return QuantizedIndex(artefact.output_ID)


def open_similarity_index(artefact: Artefact) -> QuantizedIndex:
    """Return the search over the directions of the input vectors, whose products are cosines."""
    return QuantizedIndex(unit_vectors(artefact.input_ID))
