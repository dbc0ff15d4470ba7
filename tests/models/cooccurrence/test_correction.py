import itertools
import math

import numpy as np
import pytest
import torch

from reprise.data.vocabulary import PAD
from reprise.models.cooccurrence import correction
from reprise.models.cooccurrence.correction import COUNTED, CooccurrenceCorrection, after_event, windows
from reprise.testing.worlds import noise, world


def dense(extra: correction.SparseLogits, rows: int, items: int) -> torch.Tensor:
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
    module: CooccurrenceCorrection, count: np.ndarray, often: np.ndarray, recent: list[int]
) -> np.ndarray:
    """g log(1 + s / e), by loops."""
    q, a, b = module.powers.tolist()
    count = count + math.exp(module.backward_share.item()) * count.T
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


def observed(rows: list[list[int]], window: int = 4) -> CooccurrenceCorrection:
    dataset = world(rows, valid=1, test=1)
    module = CooccurrenceCorrection(dataset.items.warm, window, neighbours=100)
    module.observe(dataset, before="valid")
    with torch.no_grad():
        module.gain.fill_(0.7)
    return module


def test_the_formula(rows: list[list[int]]) -> None:
    module = observed(rows)
    ids = world(rows, valid=1, test=1).items.ids
    index = {int(item): place for place, item in enumerate(ids, 1)}
    trained = [[index[item] for item in row[:-2]] for row in rows]
    items = module.items
    often = np.bincount(np.concatenate(trained), minlength=items + 1)
    windows = [[PAD, PAD, PAD, PAD], [PAD, PAD, PAD, 2], [1, 2, 1, 3], [4, 4, 5, 4]]
    extra = module(torch.tensor(windows))
    expected = [formula(module, pairs_of(trained, items), often, window) for window in windows]
    np.testing.assert_allclose(dense(extra, 4, items).detach(), expected, rtol=1e-4, atol=1e-6)


def test_one_table_or_sorted_entries(rows: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of one item add up in the same way in a table and sorted; scores of all pairs equal those of some."""
    module = observed(rows)
    windows = torch.tensor([[1, 2, 1, 3], [PAD, PAD, PAD, 5]])
    expected = dense(module(windows), 2, module.items)
    monkeypatch.setattr(correction, "SCRATCH", 0)
    torch.testing.assert_close(dense(module(windows), 2, module.items), expected)
    often = windows.repeat(20, 1)
    assert len(module(often).row_P) > len(module.neighbour_P) > len(module(windows).row_P)
    torch.testing.assert_close(dense(module(often), 40, module.items), expected.repeat(20, 1))


def test_every_parameter_learns() -> None:
    dataset = noise(items=9, sequences=20)
    module = CooccurrenceCorrection(9, window=3, neighbours=5)
    module.observe(dataset)
    with torch.no_grad():
        module.gain.fill_(0.5)
    extra = module(torch.tensor([[1, 2, 3], [0, 2, 2], [4, 5, 1]]))
    (extra.value_P * torch.linspace(1, 2, len(extra.value_P))).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_windows() -> None:
    """Before any event the window is what was carried; each event enters on the right, and padding does not."""
    seen_BT, wanted_BT = torch.tensor([[0, 1, 3, 3]]), torch.tensor([[True, True, False, True]])
    recent_NW, recent_BW = windows(torch.tensor([[0, 7]]), torch.tensor([[1, 2, 3, PAD]]), seen_BT, wanted_BT)
    assert recent_NW.tolist() == [[0, 7], [7, 1], [2, 3]]
    assert recent_BW.tolist() == [[2, 3]]
    assert after_event(recent_BW, torch.tensor([5])).tolist() == [[3, 5]]
