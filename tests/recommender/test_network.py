import numpy as np

from reprise.recommender import Recommender
from reprise.recommender.network import Network


def network_of(shop: Recommender) -> Network:
    return shop._ranker.network


def test_folding_many_histories_is_folding_each_one(shop: Recommender) -> None:
    network, generator = network_of(shop), np.random.default_rng(0)
    rows = [generator.integers(1, 13, size=length) for length in (3, 0, 7, 1, 7, 2)]
    together = network.fold(rows)
    for position, row in enumerate(rows):
        state = network.runtime.initial_state(1)
        for index in row:
            state = network.advance(state, np.array([index]))
        for name, array in state.items():
            assert np.allclose(together[name][position], array[0], atol=1e-6), name


def test_no_histories_have_no_states(shop: Recommender) -> None:
    assert all(len(array) == 0 for array in network_of(shop).fold([]).values())


def test_scores_are_products_with_the_vectors_that_score(counting_shop: Recommender) -> None:
    network = network_of(counting_shop)
    state = network.fold([np.array([1, 2])])
    query_BD = network.runtime.query(state)
    assert network.scores(state).shape == (1, 30)
    assert np.allclose(
        network.scores(state)[0], [query_BD[0] @ vector for vector in network.output_ID], atol=1e-6
    )
