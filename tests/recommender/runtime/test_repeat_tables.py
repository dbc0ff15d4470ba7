from math import log

import numpy as np
import pytest
import torch

from reprise.data.vocabulary import PAD
from reprise.models.corrections.recent_events import RecentEvents
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.recommender.runtime.repeat_tables import RepeatTables

ITEMS, KINDS = 15, 3


def random_head(window: int, times: bool, kinds: int) -> RepeatHead:
    torch.manual_seed(window)
    head = RepeatHead(window, times=times, kinds=kinds)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += torch.randn_like(parameter)
        head.scale.fill_(0.6)
        head.enabled.fill_(1.0)
    return head


def tables_of(head: RepeatHead) -> RepeatTables:
    tables = RepeatTables.from_tensors(
        {name: tensor.detach().numpy() for name, tensor in head.tables().items()}
    )
    assert tables is not None
    return tables


def random_state(users: int, width: int) -> dict[str, np.ndarray]:
    """Return windows of 0 to `width` events, with repeats, and with times that are partly unknown or equal."""
    generator = np.random.default_rng(0)
    place_W = np.arange(width, 0, -1)
    empty_BW = place_W > generator.integers(0, width + 1, size=(users, 1))
    item_BW = generator.integers(1, ITEMS // 2, size=(users, width))
    time_s_BW = np.cumsum(generator.choice([0, 1, 60, 1e6], size=(users, width)), axis=1)
    time_s_BW[generator.random((users, width)) < 0.2] = np.nan
    return {
        "recent": np.where(empty_BW, PAD, item_BW),
        "recent_time_s": np.where(empty_BW, np.nan, time_s_BW),
        "recent_kind": np.where(empty_BW, 0, generator.integers(KINDS, size=(users, width))),
    }


@pytest.mark.parametrize(("times", "kinds"), [(False, 0), (True, 0), (False, KINDS), (True, KINDS)])
@pytest.mark.parametrize(("window", "width"), [(1, 1), (2, 5), (8, 8), (5, 9)])
def test_the_scores_equal_those_of_the_torch_head(window: int, width: int, times: bool, kinds: int) -> None:
    head, state = random_head(window, times, kinds), random_state(40, width)
    score_BI = np.random.default_rng(1).standard_normal((40, ITEMS)).astype(np.float32) * 4
    with torch.no_grad():
        recent = RecentEvents.of_state({name: torch.from_numpy(array) for name, array in state.items()})
        expected_BI = head(recent).apply(torch.from_numpy(score_BI.copy())).numpy()
    mixture = tables_of(head).mixture(state)
    assert mixture is not None
    mixture.apply(score_BI, np.sort(score_BI, axis=1))
    np.testing.assert_allclose(score_BI, expected_BI, atol=2e-5, rtol=2e-5)


def test_an_item_is_represented_by_its_newest_event() -> None:
    head = random_head(4, False, 0)
    mixture = tables_of(head).mixture({"recent": np.array([[PAD, 7, 3, 7]])})
    assert mixture is not None
    assert mixture.item_BW.tolist() == [[PAD, PAD, 3, 7]]
    first, second, _, by_rank, repeated, log_count = head.position.tolist()
    assert mixture.pointer_BW[0, 2:].tolist() == pytest.approx(
        [second + by_rank * log(2), first + repeated + log_count * log(2)]
    )
    constant, by_length, by_repeats = head.gate.tolist()
    expected = constant + by_length * log(3) + by_repeats * log((3 - 2 + 0.5) / (2 + 0.5))
    assert mixture.gate_B.tolist() == pytest.approx([expected])


def test_there_is_no_mixture_if_no_recent_item_is_a_candidate() -> None:
    tables = tables_of(random_head(3, False, 0))
    state = {"recent": np.array([[9, 0, 2, 4], [9, 0, 0, 4]])}
    allowed_I = np.ones(ITEMS, dtype=np.bool_)
    allowed_I[[1, 3]] = False
    assert tables.mixture(state) is not None
    assert tables.mixture(state, allowed_I) is None
    assert tables.mixture({"recent": np.zeros((2, 4), dtype=np.int64)}) is None
    allowed_BI = np.array([allowed_I, ~allowed_I])
    mixture = tables.mixture(state, allowed_BI)
    assert mixture is not None and mixture.item_BW.tolist() == [[0, 2, 4], [0, 0, 4]]


def test_an_artefact_without_numbers_has_no_repeat_head() -> None:
    assert RepeatTables.from_tensors({}) is None
