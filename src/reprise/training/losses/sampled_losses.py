"""Losses over a target and some drawn items.

Shape letters: N targets, R targets of a chunk, K negatives, D width. The negatives are shared by all targets of a step; one
that is a target's own item is none of its negatives.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from reprise.config import spec
from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.negatives import Negatives, Sample
from reprise.training.losses.shared_negatives import Chunk, LossGradients, SampledLoss, by_autograd

NOTHING = -1e30
"""A logit that no network has: its share of a softmax is 0, and its arithmetic stays finite."""


@spec
class SampledSoftmax(SampledLoss):
    """Cross-entropy of the target among drawn items, each counted for those it stands for.

    Logits of negatives are lowered by log q, the logarithm of the probability of being drawn (Bengio and Senecal 2008), so that
    the sum over them estimates the sum over the catalogue.
    """

    negatives: Negatives = Negatives(count=4096, power=0.0)
    """What is drawn."""

    def chunk(self, sample: Sample, items: int) -> Chunk:
        return lambda right_R1, wrong_RK: _softmax(right_R1, wrong_RK.sub_(sample.log_q_K))


@spec
class Softmax:
    """Cross-entropy over all items where they are few, and over drawn ones where they are many.

    To look at all is exact, and no dearer up to about twice as many as are drawn.
    """

    negatives: Negatives = Negatives(count=4096, power=0.0)
    """What is drawn where items are many."""
    whole: Annotated[int, Field(ge=0)] = 8192
    """Items up to which all are looked at."""

    def __call__(
        self, query_ND: Tensor, items: ItemEmbeddings, target_N: Tensor, sample: Sample | None = None
    ) -> Tensor:
        """The sum over targets, a scalar in float32; see `Loss`."""
        few = len(items.weight) - 1 <= self.whole
        if few and not items.sparse:
            return FullSoftmax()(query_ND, items, target_N)
        if few:
            # the same sum, with gradients by rows: every item drawn for certain
            item_I = torch.arange(1, len(items.weight), device=target_N.device)
            sample = Sample(item_I, torch.zeros(len(item_I), device=item_I.device))
        return SampledSoftmax(negatives=self.negatives)(query_ND, items, target_N, sample)


@spec
class BPRMax(SampledLoss):
    """-log sum_j s_j sigmoid(r - r_j) + `regularization` sum_j s_j r_j^2, s the softmax of the negatives' scores r_j.

    Hidasi and Karatzoglou 2018, "Recurrent neural networks with top-k gains", equation 10.
    """

    negatives: Negatives = Negatives()
    """What is drawn."""
    regularization: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the squared scores of the negatives."""

    def chunk(self, sample: Sample, items: int) -> Chunk:
        def loss(right_R1: Tensor, wrong_RK: Tensor) -> Tensor:
            real_RK, score_RK, log_s_RK = _shares(wrong_RK)
            # in logarithms: a sum of sigmoids that are all 0 in float32 still has a slope
            gain_RK = torch.where(real_RK, log_s_RK + logsigmoid(right_R1 - score_RK), NOTHING)
            ranking_R = torch.where(real_RK.any(1), -gain_RK.logsumexp(1), 0.0)
            squares_R = (torch.where(real_RK, log_s_RK.exp(), 0.0) * score_RK.square()).sum(1)
            return (ranking_R + self.regularization * squares_R).sum()

        return by_autograd(loss)


@spec
class TOP1Max(SampledLoss):
    """sum_j s_j (sigmoid(r_j - r) + sigmoid(r_j^2)), s the softmax of the negatives' scores r_j.

    Hidasi and Karatzoglou 2018, equation 8.
    """

    negatives: Negatives = Negatives()
    """What is drawn."""

    def chunk(self, sample: Sample, items: int) -> Chunk:
        def loss(right_R1: Tensor, wrong_RK: Tensor) -> Tensor:
            real_RK, score_RK, log_s_RK = _shares(wrong_RK)
            each_RK = torch.sigmoid(score_RK - right_R1) + torch.sigmoid(score_RK.square())
            return (torch.where(real_RK, log_s_RK.exp(), 0.0) * each_RK).sum()

        return by_autograd(loss)


@spec
class GBCE(SampledLoss):
    """Generalised binary cross-entropy: -(beta log sigmoid(r) + sum_j log(1 - sigmoid(r_j))) / (K + 1).

    beta = a (t (1 - 1 / a) + 1 / a), a the share of the other items that is drawn: it undoes the overconfidence that comes from
    drawing few negatives (Petrov and Macdonald 2023, "gSASRec").
    """

    negatives: Negatives = Negatives(count=256, power=0.0)
    """What is drawn."""
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75
    """t: 0 is plain binary cross-entropy, 1 gives calibrated probabilities."""

    def chunk(self, sample: Sample, items: int) -> Chunk:
        drawn = min(1.0, len(sample.item_K) / max(1, items - 1))
        beta = drawn * (self.calibration * (1 - 1 / drawn) + 1 / drawn)

        def loss(right_R1: Tensor, wrong_RK: Tensor) -> Tensor:
            real_RK = wrong_RK > -torch.inf
            wrong = torch.where(real_RK, softplus(torch.where(real_RK, wrong_RK, 0.0)), 0.0).sum()
            return (beta * softplus(-right_R1).sum() + wrong) / (len(sample.item_K) + 1)

        return by_autograd(loss)


def _softmax(right_R1: Tensor, wrong_RK: Tensor) -> LossGradients:
    """Cross-entropy of the target, in place of the other logits."""
    high_R1 = torch.maximum(right_R1, wrong_RK.amax(1, keepdim=True))
    # `exp2` takes a third of the time of `exp`
    rest_R1 = wrong_RK.sub_(high_R1).mul_(1 / math.log(2)).exp2_().sum(1, keepdim=True)
    total_R1 = rest_R1 + (right_R1 - high_R1).exp()
    loss = (total_R1.log() + high_R1 - right_R1).sum()
    # p - 1 as -(1 - p), so that a target that is almost certain keeps its small slope
    return LossGradients(loss, -rest_R1 / total_R1, wrong_RK.div_(total_R1))


def _shares(wrong_RK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which negatives are not the target, their scores (0 for those that are), and the logarithm of their softmax."""
    real_RK = wrong_RK > -torch.inf
    score_RK = torch.where(real_RK, wrong_RK, 0.0)
    return real_RK, score_RK, torch.where(real_RK, wrong_RK, NOTHING).log_softmax(1)
