from dataclasses import replace

import numpy as np
import pytest
from rich_model import START_S, random_history

from reprise.recommender import Recommender
from reprise.recommender.history import read_history
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork


def network_of(shop: Recommender) -> OnnxNetwork:
    return shop._ranker.network


def test_folding_a_batch_gives_the_states_of_single_folds(shop: Recommender) -> None:
    network, generator = network_of(shop), np.random.default_rng(0)
    rows = [EventArrays.of_items(generator.integers(1, 13, size=length)) for length in (3, 0, 7, 1, 7, 2)]
    batch = network.fold(rows)
    for position, row in enumerate(rows):
        state = network.runtime.initial_state(1)
        for step in range(len(row)):
            state = network.advance(state, row.take(np.array([step])))
        for name, array in state.items():
            assert np.allclose(batch[name][position], array[0], atol=1e-6), name


def test_folding_no_histories_gives_no_states(shop: Recommender) -> None:
    assert all(len(array) == 0 for array in network_of(shop).fold([]).values())


def test_scores_are_products_with_the_output_vectors(counting_shop: Recommender) -> None:
    network = network_of(counting_shop)
    state = network.fold([EventArrays.of_items(np.array([1, 2]))])
    query_BD = network.query(state)
    assert network.scores(state).shape == (1, 30)
    assert np.allclose(
        network.scores(state)[0], [query_BD[0] @ vector for vector in network.output_ID], atol=1e-6
    )


def rows_of(shop: Recommender, lengths: tuple[int, ...]) -> list[EventArrays]:
    return [
        read_history(random_history(seed, length), shop.ranker.catalogue).events
        for seed, length in enumerate(lengths)
    ]


def test_a_batch_keeps_times_kinds_values_and_last_items_of_each_user(rich_shop: Recommender) -> None:
    network, rows = network_of(rich_shop), rows_of(rich_shop, (3, 0, 7, 1, 7, 2))
    batch = network.fold(rows)
    assert {str(array.dtype) for array in batch.values()} == {"float32", "float64", "int64"}
    for position, row in enumerate(rows):
        for name, array in network.fold([row]).items():
            assert np.allclose(batch[name][position], array[0], atol=1e-6, equal_nan=True), name


def test_scores_of_selected_items_equal_the_scores_of_all_items(rich_shop: Recommender) -> None:
    network = network_of(rich_shop)
    state = network.fold(rows_of(rich_shop, (3, 5, 0)))
    now_s = START_S + 1e8
    scores_BI = network.scores(state, now_s)
    assert (scores_BI != network.scores(state)).any()
    for items in (*([item] for item in range(1, 21)), range(1, 21), (7, 3, 7), ()):
        item_M = np.array(items, dtype=np.int64)
        assert np.allclose(
            network.scores_of(state, item_M, rich_shop.ranker.index, now_s),
            scores_BI[:, item_M - 1],
            atol=1e-6,
        )


def test_scores_are_products_plus_corrections(rich_shop: Recommender) -> None:
    network = replace(network_of(rich_shop), repeats=None)
    state = network.fold(rows_of(rich_shop, (6, 6)))
    corrections = network.corrections(state)
    assert corrections is not None and len(corrections.value_M) > 0
    difference_BI = network.scores(state) - network.query(state) @ network.output_ID.T
    assert difference_BI[corrections.row_M, corrections.item_M - 1] == pytest.approx(
        corrections.value_M, abs=1e-5
    )
    assert np.count_nonzero(np.abs(difference_BI) > 1e-5) == len(corrections.value_M)


def test_a_repeat_head_replaces_the_scores_of_recent_items(rich_shop: Recommender) -> None:
    network = network_of(rich_shop)
    state = network.fold(rows_of(rich_shop, (6, 9)))
    plain_BI, score_BI = replace(network, repeats=None).scores(state), network.scores(state)
    recent_BI = np.array([np.isin(np.arange(1, 21), row) for row in state["recent"]])
    assert np.array_equal(plain_BI[~recent_BI], score_BI[~recent_BI])
    assert not (plain_BI[recent_BI] == score_BI[recent_BI]).any()
    mixture = network.mixture(state)
    assert mixture is not None
    mixture.apply(plain_BI, np.sort(plain_BI, axis=1))
    np.testing.assert_allclose(score_BI, plain_BI, atol=1e-6)
