import itertools
import math

import numpy as np
import pytest
import torch

from reprise.data.vocabulary import PAD
from reprise.models import transitions
from reprise.models.transitions import COUNTED, TransitionResidual, last_events
from reprise.testing.worlds import noise, world


def dense(extra: transitions.SparseLogits, rows: int, items: int) -> torch.Tensor:
    found = torch.zeros(rows, items + 1)
    return found.index_put((extra.row_P, extra.item_P), extra.value_P, accumulate=True)


def pairs_of(sequences: list[list[int]], items: int) -> np.ndarray:
    count = np.zeros((items + 1, items + 1))
    for row in sequences:
        for early, late in itertools.combinations(range(len(row)), 2):
            if late - early <= COUNTED:
                count[row[early], row[late]] += 1 / (late - early)
    return count


def formula(
    module: TransitionResidual, count: np.ndarray, often: np.ndarray, recent: list[int]
) -> np.ndarray:
    """g log(1 + s / e), by loops."""
    q, a, b = module.powers.tolist()
    score = np.zeros(len(count))
    for item, weight in zip(recent, module.distance.exp().tolist(), strict=True):
        for later in range(1, len(count)):
            if item != PAD and count[item, later] > 1e-9:
                score[later] += weight * count[item, later] ** q / count[item].sum() ** a / often[later] ** b
    return module.gain.item() * np.log1p(score / math.exp(module.floor.item()))


@pytest.fixture
def rows() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, 8, size=length).tolist() for length in (6, 9, 5, 12, 3)]


def observed(rows: list[list[int]], window: int = 4) -> tuple[TransitionResidual, dict[int, int]]:
    """The module, and the dataset's index of each item."""
    dataset = world(rows, valid=1, test=1)
    module = TransitionResidual(dataset.items.warm, window, successors=100)
    module.observe(dataset)
    return module, {int(item): place for place, item in enumerate(dataset.items.ids, 1)}


def test_the_formula(rows: list[list[int]]) -> None:
    module, index = observed(rows)
    trained = [[index[item] for item in row[:-2]] for row in rows]
    items = module.items
    often = np.bincount(np.concatenate(trained), minlength=items + 1)
    windows = [[PAD, PAD, PAD, PAD], [PAD, PAD, PAD, 2], [1, 2, 1, 3], [4, 4, 5, 4]]
    extra = module(torch.tensor(windows))
    expected = [formula(module, pairs_of(trained, items), often, window) for window in windows]
    np.testing.assert_allclose(dense(extra, 4, items).detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scratch", [0, 1 << 20])
def test_an_event_does_not_count_itself(
    rows: list[list[int]], scratch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the target given, its logit is what it would be had its event not been counted."""
    monkeypatch.setattr(transitions, "SCRATCH", scratch)
    module, index = observed(rows)
    items = module.items
    trained = [[index[item] for item in row[:-2]] for row in rows]
    often = np.bincount(np.concatenate(trained), minlength=items + 1)
    for row in trained:
        for at in range(1, len(row)):
            recent = ([PAD] * 4 + row[:at])[-4:]
            count = pairs_of(trained, items)
            for early in range(max(0, at - 4), at):
                count[row[early], row[at]] -= 1 / (at - early)
            extra = module(torch.tensor([recent]), torch.tensor([row[at]]))
            found = dense(extra, 1, items)[0].detach().numpy()
            np.testing.assert_allclose(found, formula(module, count, often, recent), rtol=2e-3, atol=1e-5)


def test_every_parameter_learns() -> None:
    dataset = noise(items=9, sequences=20)
    module = TransitionResidual(9, window=3, successors=5)
    module.observe(dataset)
    recent_NW = torch.tensor([[1, 2, 3], [0, 2, 2], [4, 5, 1]])
    extra = module(recent_NW, torch.tensor([2, 1, 3]))
    (extra.value_P * torch.linspace(1, 2, len(extra.value_P))).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_pair_seen_once_in_the_whole_log_is_nothing_to_its_own_event() -> None:
    dataset = world([list("abxx"), list("cdxx")], valid=1, test=1)
    module = TransitionResidual(dataset.items.warm, window=2, successors=5)
    module.observe(dataset)
    a, b = (dataset.items.ids.tolist().index(item) + 1 for item in "ab")
    extra = module(torch.tensor([[PAD, a]]), torch.tensor([b]))
    assert dense(extra, 1, module.items)[0, b] == 0
    assert dense(module(torch.tensor([[PAD, a]])), 1, module.items)[0, b] > 0


def test_windows() -> None:
    """Before any event the window is what was carried; each event enters on the right."""
    found = last_events(torch.tensor([[0, 7]]), torch.tensor([[1, 2, 3]]))
    assert found.tolist() == [[[0, 7], [7, 1], [1, 2], [2, 3]]]
