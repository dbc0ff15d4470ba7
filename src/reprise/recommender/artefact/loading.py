"""Opening of an artefact: its network, and the searches over its item vectors."""

from reprise.recommender.artefact.artefact import Artefact
from reprise.recommender.runtime.cooccurrence_tables import CooccurrenceTables
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import OnnxSession
from reprise.recommender.search.mmr import unit_vectors
from reprise.recommender.search.quantized_index import QuantizedIndex


def open_network(artefact: Artefact) -> OnnxNetwork:
    """Return the network of an artefact.

    Raises:
        ArtefactError: a graph cannot be read.
    """
    return OnnxNetwork(
        OnnxSession(artefact.step, artefact.query, artefact.initial, make_scan=_scan),
        artefact.input_ID,
        artefact.output_ID,
        CooccurrenceTables.from_tensors(artefact.cooccurrence),
    )


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
