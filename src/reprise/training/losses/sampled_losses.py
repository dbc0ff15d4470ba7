"""Losses of a target against sampled negatives.

Shape letters: N targets, R targets of a chunk, K negatives, D width. All targets of a step share the negatives. A negative
that is the target itself is excluded for that target.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from reprise.config import spec
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.chunked_softmax import SoftmaxTask, chunked_softmax
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.loss import product_dtype
from reprise.training.losses.negatives import Negatives, Sample
from reprise.training.losses.shared_negatives import NEEDS_SAMPLE, ChunkLoss, SampledLoss, by_autograd

EXCLUDED = -1e30
"""Logit of an excluded item: its softmax is 0, and unlike -inf it keeps all arithmetic finite."""


@spec
class SampledSoftmax:
    """Softmax cross-entropy of the target among sampled negatives, with the log-q correction.

    The logits of negatives are lowered by log q, the logarithm of the probability of being drawn (Bengio and Senecal 2008),
    so that the sum over them estimates the sum over the catalogue.
    """

    negatives: Negatives = Negatives(count=4096, power=0.0)
    """How negatives are sampled."""

    def __call__(
        self, query_ND: Tensor, items: ItemEmbeddings, target_N: Tensor, sample: Sample | None = None
    ) -> Tensor:
        """Return the sum of the losses of all targets, a scalar in float32; see `Loss`."""
        assert sample is not None, NEEDS_SAMPLE
        vector_MD = items.scoring_rows(torch.cat([target_N, sample.item_K]))
        # a logit that is lowered by log q has its exponential divided by q
        task = SoftmaxTask(
            product=product_dtype(query_ND.device, vector_MD.dtype),
            positive_N=torch.arange(len(target_N), device=target_N.device),
            excluded_N=sample.column_of(target_N),
            first=len(target_N),
            weight_K=torch.exp(-sample.log_q_K),
        )
        return chunked_softmax(query_ND, vector_MD, task)


@spec(renamed={"whole": "max_full_items"})
class Softmax:
    """Softmax cross-entropy over all items of a small catalogue, or over sampled negatives of a large one.

    The full softmax is exact, and not slower up to about twice the number of sampled items.
    """

    negatives: Negatives = Negatives(count=4096, power=0.0)
    """How negatives are sampled from a large catalogue."""
    max_full_items: Annotated[int, Field(ge=0)] = 8192
    """Largest number of items for which the softmax is over all of them."""

    def __call__(
        self, query_ND: Tensor, items: ItemEmbeddings, target_N: Tensor, sample: Sample | None = None
    ) -> Tensor:
        """Return the sum of the losses of all targets, a scalar in float32; see `Loss`."""
        is_small = items.candidates <= self.max_full_items
        if is_small and not items.sparse:
            return FullSoftmax()(query_ND, items, target_N)
        if is_small:
            # a sparse table needs gradients by rows: use all items as negatives, each drawn with probability 1
            item_I = items.candidate_items()
            sample = Sample(item_I, torch.zeros(len(item_I), device=item_I.device))
        return SampledSoftmax(negatives=self.negatives)(query_ND, items, target_N, sample)


@spec
class BPRMax(SampledLoss):
    """-log sum_j s_j sigmoid(r - r_j) + `regularization` sum_j s_j r_j^2, s the softmax of the negatives' scores r_j.

    Hidasi and Karatzoglou 2018, "Recurrent neural networks with top-k gains", equation 10.
    """

    negatives: Negatives = Negatives()
    """How negatives are sampled."""
    regularization: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the squared scores of the negatives."""

    def chunk_loss(self, sample: Sample, items: int) -> ChunkLoss:
        def loss(positive_R1: Tensor, negative_RK: Tensor) -> Tensor:
            valid_RK, score_RK, log_s_RK = _log_softmax(negative_RK)
            # in logarithms: a sum of sigmoids that all underflow to 0 in float32 would have no gradient
            gain_RK = torch.where(valid_RK, log_s_RK + logsigmoid(positive_R1 - score_RK), EXCLUDED)
            ranking_R = torch.where(valid_RK.any(1), -gain_RK.logsumexp(1), 0.0)
            squares_R = (torch.where(valid_RK, log_s_RK.exp(), 0.0) * score_RK.square()).sum(1)
            return (ranking_R + self.regularization * squares_R).sum()

        return by_autograd(loss)


@spec
class TOP1Max(SampledLoss):
    """sum_j s_j (sigmoid(r_j - r) + sigmoid(r_j^2)), s the softmax of the negatives' scores r_j.

    Hidasi and Karatzoglou 2018, equation 8.
    """

    negatives: Negatives = Negatives()
    """How negatives are sampled."""

    def chunk_loss(self, sample: Sample, items: int) -> ChunkLoss:
        def loss(positive_R1: Tensor, negative_RK: Tensor) -> Tensor:
            valid_RK, score_RK, log_s_RK = _log_softmax(negative_RK)
            each_RK = torch.sigmoid(score_RK - positive_R1) + torch.sigmoid(score_RK.square())
            return (torch.where(valid_RK, log_s_RK.exp(), 0.0) * each_RK).sum()

        return by_autograd(loss)


@spec
class GBCE(SampledLoss):
    """Generalised binary cross-entropy: -(beta log sigmoid(r) + sum_j log(1 - sigmoid(r_j))) / (K + 1).

    beta = a (t (1 - 1 / a) + 1 / a), where a is the share of the other items that is sampled. It corrects the overconfidence
    that a small number of negatives causes (Petrov and Macdonald 2023, "gSASRec").
    """

    negatives: Negatives = Negatives(count=256, power=0.0)
    """How negatives are sampled."""
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75
    """t: 0 is plain binary cross-entropy, 1 gives calibrated probabilities."""

    def chunk_loss(self, sample: Sample, items: int) -> ChunkLoss:
        sampled = min(1.0, len(sample.item_K) / max(1, items - 1))
        beta = sampled * (self.calibration * (1 - 1 / sampled) + 1 / sampled)

        def loss(positive_R1: Tensor, negative_RK: Tensor) -> Tensor:
            valid_RK = negative_RK > -torch.inf
            negative = torch.where(valid_RK, softplus(torch.where(valid_RK, negative_RK, 0.0)), 0.0).sum()
            return (beta * softplus(-positive_R1).sum() + negative) / (len(sample.item_K) + 1)

        return by_autograd(loss)


def _log_softmax(negative_RK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which negatives are valid (not the target), their scores (0 if invalid) and the log of their softmax."""
    valid_RK = negative_RK > -torch.inf
    score_RK = torch.where(valid_RK, negative_RK, 0.0)
    return valid_RK, score_RK, torch.where(valid_RK, negative_RK, EXCLUDED).log_softmax(1)
