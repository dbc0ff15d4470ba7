import math

import pytest
import torch
from torch.nn.functional import cross_entropy

import reprise.training.softmax as losses
from reprise.models.items import ItemVectors
from reprise.training.softmax import FullSoftmax


def random_case(
    targets: int = 300, items: int = 40, size: int = 6
) -> tuple[torch.Tensor, ItemVectors, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    vectors = ItemVectors(items, size)
    hidden_ND = torch.randn(targets, size, generator=generator).requires_grad_()
    return hidden_ND, vectors, torch.randint(1, items + 1, (targets,), generator=generator)


def naive(hidden_ND: torch.Tensor, vectors: ItemVectors, target_N: torch.Tensor) -> torch.Tensor:
    return cross_entropy(hidden_ND @ vectors.vectors_ID.t(), target_N - 1, reduction="sum")


@pytest.mark.parametrize("rows", [1, 7, 64, 128, 1000])
def test_full_softmax_is_cross_entropy_whatever_the_chunk(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_BYTES", 0)
    monkeypatch.setattr(losses, "CHUNK_ROWS", rows)
    monkeypatch.setattr(losses, "ROUND", 1)
    hidden_ND, vectors, target_N = random_case()
    expected = naive(hidden_ND, vectors, target_N)
    expected.backward()
    assert hidden_ND.grad is not None
    assert vectors.weight.grad is not None
    wanted = hidden_ND.grad.clone(), vectors.weight.grad.clone()
    hidden_ND.grad = vectors.weight.grad = None
    total = FullSoftmax()(hidden_ND, vectors, target_N)
    (total * 1.0).backward()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(hidden_ND.grad, wanted[0])
    torch.testing.assert_close(vectors.weight.grad, wanted[1])


def test_equal_scores_cost_the_logarithm_of_the_catalogue() -> None:
    _, vectors, target_N = random_case()
    total = FullSoftmax()(torch.zeros(300, 6), vectors, target_N)
    assert total.item() == pytest.approx(300 * math.log(40), rel=1e-6)


def test_the_gradient_is_scaled_by_what_follows() -> None:
    hidden_ND, vectors, target_N = random_case()
    (FullSoftmax()(hidden_ND, vectors, target_N) / 300).backward()
    assert hidden_ND.grad is not None
    scaled = hidden_ND.grad.clone()
    hidden_ND.grad = None
    FullSoftmax()(hidden_ND, vectors, target_N).backward()
    torch.testing.assert_close(scaled * 300, hidden_ND.grad)


def test_under_autocast_products_are_low_and_the_sum_is_float32() -> None:
    hidden_ND, vectors, target_N = random_case()
    with torch.autocast("cpu", torch.bfloat16):
        total = FullSoftmax()(hidden_ND, vectors, target_N)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, naive(hidden_ND, vectors, target_N), rtol=1e-2, atol=0)
    total.backward()
    assert hidden_ND.grad is not None
    assert hidden_ND.grad.dtype == torch.float32


def test_a_loss_without_gradients_keeps_no_buffers() -> None:
    hidden_ND, vectors, target_N = random_case()
    with torch.no_grad():
        total = FullSoftmax()(hidden_ND, vectors, target_N)
    torch.testing.assert_close(total, naive(hidden_ND, vectors, target_N).detach())


@pytest.mark.parametrize(
    ("targets", "items", "rows"),
    [
        (3650, 3700, 576),  # 7 chunks of 522, rounded up
        (3600, 3700, 576),  # nearly as many targets: the same shape
        (50, 6, 64),  # a tiny catalogue does not make a huge chunk
        (4000, 10_000_000, 128),  # a huge one still gets whole products
        (0, 10, 64),
    ],
)
def test_chunks_are_few_shapes_that_fit(targets: int, items: int, rows: int) -> None:
    assert losses._chunk_rows(targets, items) == rows
