"""The scan over many events computes the same states as single steps, bit for bit."""

import threading

import numpy as np
import pytest
from rich_model import random_history

from reprise.recommender import Recommender
from reprise.recommender.artefact.loading import open_network
from reprise.recommender.history import read_history
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import MIN_SCAN_EVENTS, OnnxSession, State

EVENTS = 3 * MIN_SCAN_EVENTS


def after_steps(network: OnnxNetwork, events: EventArrays) -> State:
    state = network.runtime.initial_state(1)
    for step in range(len(events)):
        state = network.advance(state, events.take(np.array([step])))
    return state


def assert_equal(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype and np.array_equal(array, other[name], equal_nan=True), name


@pytest.mark.parametrize("name", ["shop", "rich_shop", "counting_shop"])
def test_a_scan_equals_single_steps(name: str, request: pytest.FixtureRequest) -> None:
    """The networks read items only; times, kinds and values, some unknown; and the last items of the history."""
    shop: Recommender = request.getfixturevalue(name)
    network = open_network(shop.artefact)
    if name == "rich_shop":
        events = read_history(random_history(4, EVENTS), shop.ranker.catalogue).events
    else:
        items = np.random.default_rng(1).integers(1, shop.items.warm + 1, EVENTS)
        events = EventArrays.of_items(items)
    expected = after_steps(network, events)
    assert_equal(network.advance_all(network.runtime.initial_state(1), events), expected)
    assert_equal(network.fold([events]), expected)
    # two calls continue each other
    half = events.take(np.arange(EVENTS // 2)), events.take(np.arange(EVENTS // 2, EVENTS))
    assert_equal(
        network.advance_all(network.advance_all(network.runtime.initial_state(1), half[0]), half[1]), expected
    )


def test_an_operator_without_a_scan_falls_back_to_single_steps(shop: Recommender) -> None:
    artefact = shop.artefact
    session = OnnxSession(
        artefact.step, artefact.query, artefact.initial, make_scan=lambda step: b"not a graph"
    )
    network = OnnxNetwork(session, artefact.input_ID, artefact.output_ID)
    events = EventArrays.of_items(np.arange(EVENTS) % 12 + 1)
    assert_equal(network.advance_all(session.initial_state(1), events), after_steps(network, events))


def test_several_threads_share_one_scan(shop: Recommender) -> None:
    network, made = open_network(shop.artefact), []
    make_scan = network.runtime._make_scan
    assert make_scan is not None
    network.runtime._make_scan = lambda: (made.append(1), make_scan())[1]  # type: ignore[assignment, func-returns-value]
    events = EventArrays.of_items(np.arange(EVENTS) % 12 + 1)
    states: list[State] = []
    threads = [threading.Thread(target=lambda: states.append(network.fold([events]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(states) == 4
    for state in states[1:]:
        assert_equal(state, states[0])
