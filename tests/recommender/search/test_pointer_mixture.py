from math import exp, log

import numpy as np
import pytest

from reprise.data.vocabulary import PAD
from reprise.recommender.search.pointer_mixture import NO_ITEM, PointerMixture, allowed_places


def mixture_of(items: list[int], pointers: list[float], gate: float = 0.5) -> PointerMixture:
    return PointerMixture(np.array([items]), np.array([pointers]), np.array([gate]), 0.25, 0.5, -1.0)


def test_new_scores_are_the_mixture_of_both_probabilities() -> None:
    """The catalogue has the scores 4, 2 and 0. The window has item 3, then item 1."""
    score_BI = np.array([[4, 2, 0]], dtype=np.float32)
    mixture = mixture_of([PAD, 3, 1], [NO_ITEM, 0.7, 0.3])
    mixture.apply(score_BI, np.array([[4, 2, 0]], dtype=np.float32))
    log_total = log(exp(0.5 * 4) + exp(0.5 * 2) + exp(0))
    pointer_3, pointer_1 = exp(0.7 + 0.25 * 0.5 * 0), exp(0.3 + 0.25 * 0.5 * 4)
    repeat = exp(log_total + 0.5) / (pointer_3 + pointer_1)
    expected = [
        log(exp(0.5 * 4 - 1) + repeat * pointer_1) / 0.5,
        2,
        log(exp(0.5 * 0 - 1) + repeat * pointer_3) / 0.5,
    ]
    assert score_BI[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_window_without_items_changes_nothing() -> None:
    score_BI = np.array([[4, 2, 0]], dtype=np.float32)
    mixture_of([PAD, PAD], [NO_ITEM, NO_ITEM]).apply(score_BI, score_BI.copy())
    assert score_BI.tolist() == [[4, 2, 0]]


def test_large_scores_do_not_overflow() -> None:
    score_BI = np.array([[1e30, -1e30, 3e37]], dtype=np.float32)
    mixture_of([1, 2], [0.0, 0.0]).apply(score_BI, score_BI.copy())
    assert np.isfinite(score_BI).all()


def test_masks_can_be_for_all_users_or_for_each() -> None:
    item_BW = np.array([[PAD, 1, 3], [2, PAD, 3]])
    allowed_BI = np.array([[True, True, False], [False, True, True]])
    assert allowed_places(item_BW, None).tolist() == [[False, True, True], [True, False, True]]
    assert allowed_places(item_BW, allowed_BI[0]).tolist() == [[False, True, False], [True, False, False]]
    assert allowed_places(item_BW, allowed_BI).tolist() == [[False, True, False], [True, False, True]]
