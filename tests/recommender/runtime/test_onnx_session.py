import numpy as np
import pytest

from reprise.errors import ArtefactError
from reprise.recommender import Recommender
from reprise.recommender.artefact.loading import open_network
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_session import OnnxSession


def test_initial_states_are_equal_and_not_shared(shop: Recommender) -> None:
    artefact = shop.artefact
    runtime = OnnxSession(artefact.step, artefact.query, artefact.initial)
    state = runtime.initial_state(3)
    for array in state.values():
        array[0] += 1
    assert all((array[1:] == 0).all() for array in state.values())
    assert all((array == 0).all() for array in runtime.initial_state(1).values())


def test_advance_does_not_change_the_given_state(shop: Recommender) -> None:
    artefact = shop.artefact
    runtime = OnnxSession(artefact.step, artefact.query, artefact.initial)
    before = runtime.initial_state(2)
    after = runtime.advance(before, artefact.input_ID[:2], EventArrays.of_items(np.array([1, 2])))
    assert all((array == 0).all() for array in before.values())
    assert any((array != 0).any() for array in after.values())
    assert {name: array.shape for name, array in after.items()} == {
        name: array.shape for name, array in before.items()
    }


def test_state_bytes_counts_the_arrays_of_a_small_network(shop: Recommender) -> None:
    """Two layers with two arrays each and the last hidden state: five times sixteen floats of four bytes."""
    artefact = shop.artefact
    assert OnnxSession(artefact.step, artefact.query, artefact.initial).state_bytes == 5 * 16 * 4


def test_an_invalid_graph_is_named() -> None:
    with pytest.raises(
        ArtefactError, match=r"^step\.onnx cannot be run by onnxruntime .* export the model again$"
    ):
        OnnxSession(b"not a graph", b"", {"h": np.zeros((1, 2), dtype=np.float32)})


def test_a_graph_with_a_name_that_is_not_utf8_is_refused(shop: Recommender) -> None:
    artefact = shop.artefact
    query = artefact.query.replace(b"state.hidden", b"state.\xbe\xf5\xa3\x80\x80\x80")
    assert query != artefact.query
    with pytest.raises(ArtefactError, match=r"^query\.onnx cannot be run by onnxruntime"):
        OnnxSession(artefact.step, query, artefact.initial)


def test_state_bytes_counts_every_array_of_a_large_network(rich_shop: Recommender) -> None:
    """One layer with two arrays, five attended states and vectors with their mask, the output, a time, and six events."""
    assert rich_shop.session().state_bytes == 4 * (2 * 16 + 2 * 5 * 16 + 5 + 16) + 8 * (1 + 6 * 3)


def test_reads_lists_the_inputs_of_the_graphs(rich_shop: Recommender, shop: Recommender) -> None:
    assert open_network(rich_shop.artefact).runtime.reads == ("item", "time_s", "kind", "value", "now_s")
    assert open_network(shop.artefact).runtime.reads == ()
