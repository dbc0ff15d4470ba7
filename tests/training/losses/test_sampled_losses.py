"""Losses with sampled negatives, compared with naive references."""

import math

import pytest
import torch
from torch import Tensor

import reprise.training.losses.chunked_softmax as chunked_softmax
import reprise.training.losses.shared_negatives as shared_negatives
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.loss import Loss
from reprise.training.losses.negatives import Negatives, Sample
from reprise.training.losses.sampled_losses import GBCE, BPRMax, SampledSoftmax, Softmax, TOP1Max

ITEMS = 30


class Case:
    """Random queries, item vectors, targets and negatives; some negatives are targets."""

    def __init__(self, unit: bool = False, scale: float = 1.0, sparse: bool = False) -> None:
        torch.manual_seed(0)
        self.items = ItemEmbeddings(ITEMS, 6, unit=unit, sparse=sparse)
        self.read = self.items.weight
        if sparse:
            self.read = self.items.weight.detach().clone().requires_grad_()
            self.items.use_rows(torch.arange(ITEMS + 1), self.read)
        self.query_ND = (scale * torch.randn(20, 6)).requires_grad_()
        self.target_N = torch.randint(1, ITEMS + 1, (20,))
        self.sample = Negatives(count=25, power=0.5).sampler(torch.rand(ITEMS) + 0.1).draw()

    def logits(self) -> Tensor:
        return self.query_ND @ self.items.scoring_ID().t()

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of targets [N] and negatives [N, K], and whether a negative is the target [N, K]."""
        s_NI = self.logits()
        own_NK = self.sample.item_K == self.target_N[:, None]
        return s_NI.gather(1, self.target_N[:, None] - 1)[:, 0], s_NI[:, self.sample.item_K - 1], own_NK

    def leaves(self) -> list[Tensor]:
        return [self.query_ND, self.read]


def full(case: Case, loss: FullSoftmax) -> Tensor:
    log_p_NI = case.logits().log_softmax(1)
    positive = log_p_NI.gather(1, case.target_N[:, None] - 1).sum()
    return -(1 - loss.label_smoothing) * positive - loss.label_smoothing * log_p_NI.mean(1).sum()


def softmax(case: Case, loss: SampledSoftmax) -> Tensor:
    positive_N, s_NK, own_NK = case.parts()
    s_NK = (s_NK - case.sample.log_q_K).masked_fill(own_NK, -torch.inf)
    return (torch.cat([positive_N[:, None], s_NK], 1).logsumexp(1) - positive_N).sum()


def bpr_max(case: Case, loss: BPRMax) -> Tensor:
    total = torch.zeros(())
    for positive, s_K, own_K in zip(*case.parts(), strict=True):
        s_K = s_K[~own_K]
        share_K = s_K.softmax(0)
        total = total - (share_K * torch.sigmoid(positive - s_K)).sum().log()
        total = total + loss.regularization * (share_K * s_K**2).sum()
    return total


def top1_max(case: Case, loss: TOP1Max) -> Tensor:
    total = torch.zeros(())
    for positive, s_K, own_K in zip(*case.parts(), strict=True):
        s_K = s_K[~own_K]
        total = total + (s_K.softmax(0) * (torch.sigmoid(s_K - positive) + torch.sigmoid(s_K**2))).sum()
    return total


def gbce(case: Case, loss: GBCE) -> Tensor:
    share = len(case.sample.item_K) / (ITEMS - 1)
    beta = share * (loss.calibration * (1 - 1 / share) + 1 / share)
    total = torch.zeros(())
    for positive, s_K, own_K in zip(*case.parts(), strict=True):
        total = total - beta * torch.sigmoid(positive).log() - (1 - torch.sigmoid(s_K[~own_K])).log().sum()
    return total / (len(case.sample.item_K) + 1)


REFERENCES = [
    (FullSoftmax(), full),
    (FullSoftmax(label_smoothing=0.2), full),
    (SampledSoftmax(), softmax),
    (Softmax(max_full_items=ITEMS - 1), softmax),
    (BPRMax(), bpr_max),
    (BPRMax(regularization=0.0), bpr_max),
    (TOP1Max(), top1_max),
    (GBCE(), gbce),
]
each_loss = pytest.mark.parametrize("loss", [loss for loss, _ in REFERENCES], ids=str)


def value_and_gradients(case: Case, total: Tensor) -> list[Tensor]:
    found = [total.detach(), *torch.autograd.grad(total, case.leaves())]
    found[2][0] = 0.0  # the padding row
    return found


@pytest.mark.parametrize(
    ("loss", "reference"),
    REFERENCES,
    ids=lambda part: part.__name__ if callable(part) and hasattr(part, "__name__") else str(part),
)
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_loss_and_gradients_equal_the_naive_reference(
    loss: Loss, reference, unit: bool, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_negatives, "chunk_rows", lambda *_: 7)
    monkeypatch.setattr(chunked_softmax, "chunk_shape", lambda *_: (7, 4))
    case, other_case = Case(unit, sparse=sparse and loss.negatives is not None), Case(unit)
    found = value_and_gradients(case, loss(case.query_ND, case.items, case.target_N, case.sample))
    expected = value_and_gradients(other_case, reference(other_case, loss))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)


@each_loss
def test_the_loss_of_large_logits_is_finite(loss: Loss) -> None:
    case = Case(scale=1e4)
    total = loss(case.query_ND, case.items, case.target_N, case.sample)
    for number in value_and_gradients(case, total):
        assert torch.isfinite(number).all()


@each_loss
def test_the_losses_of_two_halves_add_up(loss: Loss) -> None:
    """So the gradient is the same with one process and with two that divide by the number of all targets."""
    case = Case()
    halves = [slice(0, 7), slice(7, 20)]
    parts = [loss(case.query_ND[half], case.items, case.target_N[half], case.sample) for half in halves]
    total = loss(case.query_ND, case.items, case.target_N, case.sample)
    torch.testing.assert_close(parts[0] + parts[1], total, rtol=1e-4, atol=1e-4)


def test_the_default_loss_of_a_small_catalogue_is_the_full_softmax() -> None:
    case = Case()
    found = value_and_gradients(
        case, Softmax(max_full_items=ITEMS)(case.query_ND, case.items, case.target_N, case.sample)
    )
    expected = value_and_gradients(case, full(case, FullSoftmax()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)


def test_the_default_loss_of_a_sparse_table_is_the_full_softmax() -> None:
    case = Case(sparse=True)
    total = Softmax(max_full_items=ITEMS)(case.query_ND, case.items, case.target_N, case.sample)
    torch.testing.assert_close(total, full(case, FullSoftmax()))
    (grad,) = torch.autograd.grad(total, [case.read])
    assert grad.any(1)[1:].all()


def test_the_sampled_softmax_is_unbiased() -> None:
    """The mean of e^loss over many samples is that of the full softmax."""
    case = Case()
    sampler = Negatives(count=20, power=0.7).sampler(torch.rand(ITEMS) + 0.1)
    with torch.no_grad():
        expected = FullSoftmax()(case.query_ND[:1], case.items, case.target_N[:1]).exp()
        draws = [
            SampledSoftmax()(case.query_ND[:1], case.items, case.target_N[:1], sampler.draw()).exp()
            for _ in range(4000)
        ]
    assert torch.stack(draws).mean().item() == pytest.approx(expected.item(), rel=0.03)


def test_under_autocast_the_loss_is_float32() -> None:
    case = Case()
    with torch.autocast("cpu", torch.bfloat16):
        low = SampledSoftmax()(case.query_ND, case.items, case.target_N, case.sample)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, softmax(case, SampledSoftmax()), rtol=2e-2, atol=0)


def test_negatives_are_drawn_in_proportion_to_a_power_of_the_count() -> None:
    """With power 0.5, items with counts 1 and 9 are drawn 1 : 3."""
    torch.manual_seed(0)
    sampler = Negatives(count=1, power=0.5).sampler(torch.tensor([1.0, 9.0]))
    drawn = torch.cat([sampler.draw().item_K for _ in range(4000)])
    assert (drawn == 2).float().mean().item() == pytest.approx(3 / 4, abs=0.03)
    assert sampler.log_q_I.exp().tolist() == pytest.approx([1 / 4, 3 / 4])


def test_log_q_is_the_probability_of_being_among_the_draws() -> None:
    """q = 1 - (1 - p)^count, and each item is in the sample at most once."""
    sampler = Negatives(count=3, power=0.0).sampler(torch.ones(4))
    assert sampler.log_q_I.exp().tolist() == pytest.approx([1 - (3 / 4) ** 3] * 4)
    sample = Negatives(count=100, power=0.0).sampler(torch.ones(4)).draw()
    assert sample.item_K.tolist() == [1, 2, 3, 4]
    assert sample.log_q_K.tolist() == pytest.approx([math.log(1 - (3 / 4) ** 100)] * 4)


def test_the_column_of_a_target_among_the_negatives() -> None:
    sample = Sample(torch.tensor([2, 5, 9]), torch.zeros(3))
    assert sample.column_of(torch.tensor([5, 1, 9, 10, 2])).tolist() == [1, -1, 2, -1, 0]
