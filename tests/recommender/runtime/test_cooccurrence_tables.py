from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from rich_model import rich

from reprise.data.dataset import SequenceDataset
from reprise.recommender.runtime.cooccurrence_tables import CooccurrenceTables


def small_tables() -> CooccurrenceTables:
    """Return tables with the scores 0.5 of 1 -> 2, 2 of 1 -> 3, 4 of 3 -> 2, and weights of 0.25 and 1."""
    return CooccurrenceTables(
        start=np.array([0, 0, 2, 2, 3]),
        neighbour=np.array([2, 3, 2], dtype=np.int32),
        score=np.array([0.5, 2.0, 4.0], dtype=np.float32),
        weight=np.array([0.25, 1.0], dtype=np.float32),
        floor=np.array([log(0.1)], dtype=np.float32),
        gain=np.array([3.0], dtype=np.float32),
    )


def with_similarity() -> CooccurrenceTables:
    """Return the same tables with the cosines 0.3, 0 and 0.6, weights of 2 and 1, a floor of 0.5 and a gain of -1."""
    return replace(
        small_tables(),
        cosine=np.array([0.3, 0.0, 0.6], dtype=np.float32),
        cosine_weight=np.array([2.0, 1.0], dtype=np.float32),
        cosine_floor=np.array([log(0.5)], dtype=np.float32),
        cosine_gain=np.array([-1.0], dtype=np.float32),
    )


def corrections_of(tables: CooccurrenceTables, recent_BW: list[list[int]]) -> dict[tuple[int, int], float]:
    found = tables.corrections(np.array(recent_BW))
    pairs = list(zip(found.row_M.tolist(), found.item_M.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) and pairs == sorted(pairs)
    return dict(zip(pairs, found.value_M.tolist(), strict=True))


def test_a_neighbour_of_the_last_item_gets_the_logarithm_of_the_pair_score() -> None:
    """Item 2 and padding have no neighbours."""
    expected = {(0, 2): 3 * log(1 + 0.5 / 0.1), (0, 3): 3 * log(1 + 2 / 0.1)}
    assert corrections_of(small_tables(), [[2, 1], [0, 2], [0, 0]]) == pytest.approx(expected)


def test_a_neighbour_of_several_items_gets_one_correction_with_the_sum_inside_the_logarithm() -> None:
    expected = {(1, 2): 3 * log(1 + (0.25 * 0.5 + 4) / 0.1), (1, 3): 3 * log(1 + 0.25 * 2 / 0.1)}
    assert corrections_of(small_tables(), [[0, 0], [1, 3]]) == pytest.approx(expected)


def test_an_item_that_occurs_twice_in_the_window_counts_twice() -> None:
    found = corrections_of(small_tables(), [[1, 1]])
    assert found[0, 3] == pytest.approx(3 * log(1 + 1.25 * 2 / 0.1))


def test_the_similarities_are_a_second_sum_with_weights_of_its_own() -> None:
    first = corrections_of(small_tables(), [[1, 3], [0, 1]])
    expected = {
        (0, 2): first[0, 2] - log(1 + (2 * 0.3 + 0.6) / 0.5),
        (0, 3): first[0, 3],
        (1, 2): first[1, 2] - log(1 + 0.3 / 0.5),
        (1, 3): first[1, 3],
    }
    assert corrections_of(with_similarity(), [[1, 3], [0, 1]]) == pytest.approx(expected, abs=1e-6)


def test_only_the_last_columns_of_a_longer_window_are_used() -> None:
    longer = corrections_of(with_similarity(), [[3, 3, 1, 3], [2, 2, 0, 1]])
    assert longer == corrections_of(with_similarity(), [[1, 3], [0, 1]])


@pytest.mark.parametrize("similar", [True, False])
def test_the_tables_give_the_corrections_of_the_trained_network(
    visits: SequenceDataset, similar: bool
) -> None:
    correction = rich(visits).cooccurrence
    assert correction is not None
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in correction.parameters():
            parameter += 0.2 * torch.rand_like(parameter)
        if not similar:
            correction.cosine_gain.zero_()
        tables = {name: tensor.numpy() for name, tensor in correction.tables().items()}
        recent_BW = generator.integers(21, size=(50, 6))
        sparse = correction(torch.from_numpy(recent_BW))
        expected_BI = torch.zeros(50, 21).index_put(
            (sparse.row_P, sparse.item_P), sparse.value_P, accumulate=True
        )
    loaded = CooccurrenceTables.from_tensors(tables)
    assert loaded is not None and (loaded.cosine is not None) == similar
    found_BI = np.zeros((50, 20), dtype=np.float32)
    loaded.corrections(recent_BW).add_to(found_BI)
    assert (found_BI > 0).any()
    np.testing.assert_allclose(found_BI, expected_BI.numpy()[:, 1:], atol=1e-5)


def test_an_artefact_without_tables_has_no_cooccurrence_logits() -> None:
    assert CooccurrenceTables.from_tensors({}) is None
