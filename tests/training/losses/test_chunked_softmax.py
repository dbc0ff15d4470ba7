import math

import pytest
import torch
from torch.nn.functional import cross_entropy

import reprise.training.losses.chunked_softmax as softmax
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.full_softmax import FullSoftmax


def random_case(
    targets: int = 300, items: int = 40, size: int = 6
) -> tuple[torch.Tensor, ItemEmbeddings, torch.Tensor]:
    """Return random queries, item vectors and targets."""
    torch.manual_seed(0)
    vectors = ItemEmbeddings(items, size)
    query_ND = torch.randn(targets, size).requires_grad_()
    target_N = torch.randint(1, items + 1, (targets,))
    return query_ND, vectors, target_N


def naive(
    query_ND: torch.Tensor, vectors: ItemEmbeddings, target_N: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    s_NI = query_ND @ vectors.scoring_ID().t()
    return cross_entropy(s_NI, target_N - 1, reduction="sum", label_smoothing=smoothing)


SHAPES = [(1, 8), (7, 8), (64, 40), (128, 39), (1000, 13), (64, 1)]


def set_shape(monkeypatch: pytest.MonkeyPatch, rows: int, width: int) -> None:
    """Fix the rows of a chunk and the items of a block."""
    monkeypatch.setattr(softmax, "chunk_shape", lambda *_: (rows, width))


@pytest.mark.parametrize(("rows", "width"), SHAPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bound", [softmax.MAX_UNSHIFTED_BITS, 0.0])
def test_full_softmax_equals_cross_entropy_for_any_chunk_shape(
    rows: int, width: int, smoothing: float, bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the row maximum; a bound of 0 always subtracts it."""
    set_shape(monkeypatch, rows, width)
    monkeypatch.setattr(softmax, "MAX_UNSHIFTED_BITS", bound)
    query_ND, vectors, target_N = random_case()
    wanted = (query_ND, vectors.weight)
    total = FullSoftmax(label_smoothing=smoothing)(query_ND, vectors, target_N)
    expected = naive(query_ND, vectors, target_N, smoothing)
    torch.testing.assert_close(total, expected)
    for found, wanted_grad in zip(
        torch.autograd.grad(total * 2.0, wanted), torch.autograd.grad(expected * 2.0, wanted), strict=True
    ):
        torch.testing.assert_close(found, wanted_grad, rtol=1e-4, atol=2e-6)


def test_the_gradient_of_an_almost_certain_target_is_exact_in_bfloat16() -> None:
    """p - 1 is about -2^-16, which would be lost if p were rounded to bfloat16."""
    vectors = ItemEmbeddings(3, 1)
    vectors.weight.data = torch.tensor([[0.0], [1.0], [0.0], [-1.0]])
    query_11 = torch.tensor([[16 * math.log(2)]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        FullSoftmax()(query_11, vectors, torch.tensor([1])).backward()
    expected = -(2**-16 + 2 * 2**-32) / (1 + 2**-16 + 2**-32)
    assert query_11.grad is not None
    assert query_11.grad.item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("scale", [1.0, 55.0, 1e3])
def test_logits_below_and_above_the_bound_are_exact(scale: float) -> None:
    """Up to 60 bits logits are exponentiated directly, above that after subtracting the row maximum."""
    query_ND, vectors, target_N = random_case()
    max_norm = vectors.scoring_ID().detach().norm(dim=1).max() / math.log(2)
    query_ND = (scale * torch.nn.functional.normalize(query_ND.detach(), dim=1) / max_norm).requires_grad_()
    total, expected = FullSoftmax()(query_ND, vectors, target_N), naive(query_ND, vectors, target_N)
    torch.testing.assert_close(total, expected)
    found, wanted = (torch.autograd.grad(loss, query_ND)[0] for loss in (total, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_loss_of_no_targets_is_zero() -> None:
    query_ND = torch.zeros(0, 6, requires_grad=True)
    total = FullSoftmax()(query_ND, ItemEmbeddings(5, 6), torch.zeros(0, dtype=torch.long))
    total.backward()
    assert total.item() == 0
    assert query_ND.grad is not None


def test_float16_subtracts_the_row_maximum() -> None:
    """e^15 is larger than the largest float16, so a logit of 15 must not be exponentiated directly."""
    vectors = ItemEmbeddings(3, 1)
    vectors.weight.data = torch.tensor([[0.0], [1.0], [0.0], [-1.0]])
    with torch.autocast("cpu", torch.float16):
        total = FullSoftmax()(torch.tensor([[15.0]]), vectors, torch.tensor([2]))
    assert total.item() == pytest.approx(15, rel=1e-3)


def test_the_loss_of_equal_scores_is_the_log_of_the_catalogue_size() -> None:
    _, vectors, target_N = random_case()
    total = FullSoftmax()(torch.zeros(300, 6), vectors, target_N)
    assert total.item() == pytest.approx(300 * math.log(40), rel=1e-6)


def test_the_gradient_is_scaled_by_the_incoming_gradient() -> None:
    query_ND, vectors, target_N = random_case()
    (FullSoftmax()(query_ND, vectors, target_N) / 300).backward()
    assert query_ND.grad is not None
    scaled = query_ND.grad.clone()
    query_ND.grad = None
    FullSoftmax()(query_ND, vectors, target_N).backward()
    torch.testing.assert_close(scaled * 300, query_ND.grad)


def test_under_autocast_the_loss_is_float32() -> None:
    query_ND, vectors, target_N = random_case()
    with torch.autocast("cpu", torch.bfloat16):
        total = FullSoftmax()(query_ND, vectors, target_N)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, naive(query_ND, vectors, target_N), rtol=1e-2, atol=0)
    total.backward()
    assert query_ND.grad is not None
    assert query_ND.grad.dtype == torch.float32


def test_without_gradients_the_loss_is_the_same() -> None:
    query_ND, vectors, target_N = random_case()
    with torch.no_grad():
        total = FullSoftmax()(query_ND, vectors, target_N)
    torch.testing.assert_close(total, naive(query_ND, vectors, target_N).detach())


@pytest.mark.parametrize(
    ("targets", "items", "shape"),
    [
        (3650, 1000, (928, 1000)),  # the catalogue in one block: 4 chunks of 913, rounded up
        (3600, 1000, (928, 1000)),  # a similar number of targets: the same shape
        (3650, 3700, (736, 1248)),  # 5 chunks of 730 instead of 4 of 913, with fewer padding rows; 3 blocks
        (50, 6, (64, 6)),  # a tiny catalogue does not make a large chunk
        (6400, 500_000, (800, 1312)),  # many blocks, no padding row, at most 1 GB of kept exponentials
        (4000, 10_000_000, (128, 8192)),  # even a very large catalogue has chunks of 128 rows
        (0, 10, (32, 10)),
    ],
)
def test_chunks_have_few_shapes_and_fit_into_memory(targets: int, items: int, shape: tuple[int, int]) -> None:
    rows, width = softmax.chunk_shape(targets, items, 2, torch.device("cpu"))
    assert rows == shape[0]
    assert width == pytest.approx(shape[1], rel=0.02)
    assert 4 * rows * width <= max(softmax.BLOCK_BYTES, 4 * 32 * items) * 1.15
