import itertools
import math

import numpy as np
import pytest
import torch

from reprise.data.vocabulary import PAD
from reprise.models.corrections import cooccurrence
from reprise.models.corrections.cooccurrence import MAX_DISTANCE, CooccurrenceCorrection
from reprise.models.sparse_logits import SparseLogits
from reprise.testing.worlds import noise, world


def dense(extra: SparseLogits, rows: int, items: int) -> torch.Tensor:
    found = torch.zeros(rows, items + 1)
    return found.index_put((extra.row_P, extra.item_P), extra.value_P, accumulate=True)


def count_pairs_by_loops(sequences: list[list[int]], items: int) -> np.ndarray:
    count = np.zeros((items + 1, items + 1))
    for row in sequences:
        for early, late in itertools.combinations(range(len(row)), 2):
            if late - early <= MAX_DISTANCE:
                count[row[early], row[late]] += 1 / (late - early)
    return count


def formula(
    module: CooccurrenceCorrection, count: np.ndarray, frequency: np.ndarray, recent: list[int]
) -> np.ndarray:
    """Compute g log(1 + s / e) by loops."""
    q, a, b = module.powers.tolist()
    count = count + math.exp(module.backward_share.item()) * count.T
    score = np.zeros(len(count))
    for item, weight in zip(recent, module.distance.exp().tolist(), strict=True):
        for later in range(1, len(count)):
            if item != PAD and count[item, later] > 1e-9:
                score[later] += (
                    weight * count[item, later] ** q / count[item].sum() ** a / frequency[later] ** b
                )
    return module.gain.item() * np.log1p(score / math.exp(module.floor.item()))


@pytest.fixture
def rows() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, 8, size=length).tolist() for length in (6, 9, 5, 12, 3)]


def counted_correction(rows: list[list[int]], window: int = 4) -> CooccurrenceCorrection:
    dataset = world(rows, valid=1, test=1)
    module = CooccurrenceCorrection(dataset.items.warm, window, neighbours=100)
    module.count(dataset, before="valid")
    with torch.no_grad():
        module.gain.fill_(0.7)
    return module


def test_correction_matches_the_formula(rows: list[list[int]]) -> None:
    module = counted_correction(rows)
    ids = world(rows, valid=1, test=1).items.ids
    index = {int(item): position for position, item in enumerate(ids, 1)}
    trained = [[index[item] for item in row[:-2]] for row in rows]
    items = module.items
    frequency = np.bincount(np.concatenate(trained), minlength=items + 1)
    windows = [[PAD, PAD, PAD, PAD], [PAD, PAD, PAD, 2], [1, 2, 1, 3], [4, 4, 5, 4]]
    extra = module(torch.tensor(windows))
    expected = [
        formula(module, count_pairs_by_loops(trained, items), frequency, window) for window in windows
    ]
    np.testing.assert_allclose(dense(extra, 4, items).detach(), expected, rtol=1e-4, atol=1e-6)


def test_dense_and_sorted_sums_are_equal(rows: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Summing in a dense table or after sorting, and computing scores of all pairs or of some, give equal results."""
    module = counted_correction(rows)
    windows = torch.tensor([[1, 2, 1, 3], [PAD, PAD, PAD, 5]])
    expected = dense(module(windows), 2, module.items)
    monkeypatch.setattr(cooccurrence, "MAX_PLACES_PER_ENTRY", 0)
    torch.testing.assert_close(dense(module(windows), 2, module.items), expected)
    repeated = windows.repeat(20, 1)
    assert len(module(repeated).row_P) > len(module.neighbour_P) > len(module(windows).row_P)
    torch.testing.assert_close(dense(module(repeated), 40, module.items), expected.repeat(20, 1))


def test_every_parameter_gets_a_gradient() -> None:
    dataset = noise(items=9, sequences=20)
    module = CooccurrenceCorrection(9, window=3, neighbours=5)
    module.count(dataset)
    with torch.no_grad():
        module.gain.fill_(0.5)
        module.cosine_gain.fill_(0.3)
    extra = module(torch.tensor([[1, 2, 3], [0, 2, 2], [4, 5, 1]]))
    (extra.value_P * torch.linspace(1, 2, len(extra.value_P))).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
