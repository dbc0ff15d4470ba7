import numpy as np
import pytest

from reprise.errors import ArtefactError
from reprise.recommender import Recommender
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import OnnxSession


def test_every_user_starts_alike_and_alone(shop: Recommender) -> None:
    artefact = shop.artefact
    runtime = OnnxSession(artefact.step, artefact.query, artefact.initial)
    state = runtime.initial_state(3)
    for array in state.values():
        array[0] += 1
    assert all((array[1:] == 0).all() for array in state.values())
    assert all((array == 0).all() for array in runtime.initial_state(1).values())


def test_a_step_leaves_its_input_alone(shop: Recommender) -> None:
    artefact = shop.artefact
    runtime = OnnxSession(artefact.step, artefact.query, artefact.initial)
    before = runtime.initial_state(2)
    after = runtime.advance(before, artefact.input_ID[:2], EventArrays.of_items(np.array([1, 2])))
    assert all((array == 0).all() for array in before.values())
    assert any((array != 0).any() for array in after.values())
    assert {name: array.shape for name, array in after.items()} == {
        name: array.shape for name, array in before.items()
    }


def test_the_state_of_a_user_is_a_few_numbers(shop: Recommender) -> None:
    """Two layers with two arrays each, and the last hidden state: five times sixteen floats of four bytes."""
    artefact = shop.artefact
    assert OnnxSession(artefact.step, artefact.query, artefact.initial).state_bytes == 5 * 16 * 4


def test_a_graph_that_is_none_says_which() -> None:
    with pytest.raises(ArtefactError, match=r"^step\.onnx cannot be run by onnxruntime "):
        OnnxSession(b"no graph", b"", {"h": np.zeros((1, 2), dtype=np.float32)})


def test_a_state_counts_every_array(rich_shop: Recommender) -> None:
    """A layer of two arrays, five states and vectors and their marks, the output, four items and a time."""
    assert rich_shop.session().state_bytes == 4 * (2 * 16 + 2 * 5 * 16 + 5 + 16) + 8 * (4 + 1)


def test_the_runtime_says_what_it_reads(rich_shop: Recommender, shop: Recommender) -> None:
    assert OnnxNetwork.open(rich_shop.artefact).runtime.reads == ("item", "time_s", "kind", "value", "now_s")
    assert OnnxNetwork.open(shop.artefact).runtime.reads == ()
