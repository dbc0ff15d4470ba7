from math import log

import numpy as np
import pytest
import torch
from rich_model import rich

from reprise.data.dataset import SequenceDataset
from reprise.recommender.runtime.logit_corrections import CooccurrenceCorrection


def by_hand() -> CooccurrenceCorrection:
    """1 -> 2 with a score of 0.5, 1 -> 3 with 2, 3 -> 2 with 4; the last item weighs 1, the one before it 0.25."""
    return CooccurrenceCorrection(
        start=np.array([0, 0, 2, 2, 3]),
        neighbour=np.array([2, 3, 2], dtype=np.int32),
        score=np.array([0.5, 2.0, 4.0], dtype=np.float32),
        weight=np.array([0.25, 1.0], dtype=np.float32),
        floor=np.array([log(0.1)], dtype=np.float32),
        gain=np.array([3.0], dtype=np.float32),
    )


def added(transitions: CooccurrenceCorrection, recent_BW: list[list[int]]) -> dict[tuple[int, int], float]:
    extra = transitions.after(np.array(recent_BW))
    places = list(zip(extra.row_M.tolist(), extra.item_M.tolist(), strict=True))
    assert len(set(places)) == len(places) and places == sorted(places)
    return dict(zip(places, extra.value_M.tolist(), strict=True))


def test_an_item_grows_by_the_logarithm_of_what_followed_the_last_one() -> None:
    """Item 2 has no neighbour, and padding has none."""
    expected = {(0, 2): 3 * log(1 + 0.5 / 0.1), (0, 3): 3 * log(1 + 2 / 0.1)}
    assert added(by_hand(), [[2, 1], [0, 2], [0, 0]]) == pytest.approx(expected)


def test_an_item_that_followed_several_is_added_once_with_the_sum_inside_the_logarithm() -> None:
    expected = {(1, 2): 3 * log(1 + (0.25 * 0.5 + 4) / 0.1), (1, 3): 3 * log(1 + 0.25 * 2 / 0.1)}
    assert added(by_hand(), [[0, 0], [1, 3]]) == pytest.approx(expected)


def test_an_item_twice_in_the_window_counts_twice() -> None:
    found = added(by_hand(), [[1, 1]])
    assert found[0, 3] == pytest.approx(3 * log(1 + 1.25 * 2 / 0.1))


def test_a_trained_network_and_its_tables_add_the_same(visits: SequenceDataset) -> None:
    residual = rich(visits).transitions
    assert residual is not None
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in residual.parameters():
            parameter += 0.2 * torch.rand_like(parameter)
        tables = {name: tensor.numpy() for name, tensor in residual.tables().items()}
        recent_BW = generator.integers(21, size=(50, 4))
        sparse = residual(torch.from_numpy(recent_BW))
        expected_BI = torch.zeros(50, 21).index_put(
            (sparse.row_P, sparse.item_P), sparse.value_P, accumulate=True
        )
    transitions = CooccurrenceCorrection.of(tables)
    assert transitions is not None
    found_BI = np.zeros((50, 20), dtype=np.float32)
    transitions.after(recent_BW).add_to(found_BI)
    assert (found_BI > 0).any()
    np.testing.assert_allclose(found_BI, expected_BI.numpy()[:, 1:], atol=1e-5)


def test_an_artefact_without_tables_has_no_transitions() -> None:
    assert CooccurrenceCorrection.of({}) is None
