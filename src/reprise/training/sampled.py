"""Losses over a target and some drawn items.

Shape letters: N targets, C targets of a chunk, K negatives, D width, P additions to logits. The negatives are shared by all
targets of a step; one that is a target's own item is none of its negatives.
"""

from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from reprise.config import spec
from reprise.models.items import ItemVectors, SparseLogits
from reprise.training.losses import product_type
from reprise.training.negatives import Negatives, Sample

CHUNK_ROWS = 512
"""Targets whose logits exist at once."""
NONE = -1e9
"""The logit of what is no negative: its share of a softmax is exactly 0, and its gradient finite."""


class Logits(NamedTuple):
    """What a loss over drawn items looks at."""

    target_N: Tensor
    """Of the target itself, float32."""
    negative_NK: Tensor
    """Of the negatives, float32; where one is the target itself it is `NONE`."""
    own_NK: Tensor
    """Where a negative is the target itself, bool."""


@spec
class SampledSoftmax:
    """Cross-entropy of the target among drawn items, each counted for those it stands for.

    Logits of negatives are lowered by log q, the logarithm of the probability of being drawn (Bengio and Senecal 2008), so that
    the sum over them estimates the sum over the catalogue.
    """

    negatives: Negatives = Negatives(count=4096, power=0.0)
    """What is drawn."""

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemVectors,
        target_N: Tensor,
        sample: Sample | None = None,
        extra: SparseLogits | None = None,
    ) -> Tensor:
        """The sum over targets, a scalar in float32. As `FullSoftmax`, its logits exist in chunks only."""
        assert sample is not None, "the trainer draws what a loss with negatives asks for"
        own_ND, rows_KD = items.scoring_rows(target_N), items.scoring_rows(sample.item_K)
        own_P, drawn_P = _placed(target_N, sample, extra)
        drawn = None if extra is None else (extra.row_P[drawn_P], sample.place(extra.item_P[drawn_P]))
        value_P = None if extra is None else extra.value_P[drawn_P]
        settings = (product_type(query_ND.device, rows_KD.dtype), sample, sample.place(target_N), drawn)
        right_N = (query_ND.float() * own_ND.float()).sum(1)
        if extra is not None:
            right_N = right_N.index_add(0, extra.row_P[own_P], extra.value_P[own_P])
        loss: Tensor = _SampledSoftmax.apply(query_ND, rows_KD, right_N, value_P, settings)  # type: ignore[no-untyped-call]
        return loss


class _SampledSoftmax(torch.autograd.Function):
    """log(e^right + sum over negatives of e^(q . v - log q)) - right, with its gradients made chunk by chunk on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        query_ND: Tensor,
        rows_KD: Tensor,
        right_N: Tensor,
        value_P: Tensor | None,
        settings: tuple[torch.dtype, Sample, Tensor, tuple[Tensor, Tensor] | None],
    ) -> Tensor:
        product, sample, place_N, drawn = settings
        with torch.autocast(query_ND.device.type, enabled=False):
            q_ND, v_KD = query_ND.detach().to(product), rows_KD.detach().to(product)
            grad_q_ND, grad_v_KD = torch.empty_like(query_ND), torch.zeros_like(rows_KD)
            grad_right_N = torch.empty_like(right_N)
            grad_P = None if value_P is None else torch.empty_like(value_P)
            loss = right_N.new_zeros(())
            for start in range(0, len(q_ND), CHUNK_ROWS):
                chunk = slice(start, start + CHUNK_ROWS)
                s_CK = (q_ND[chunk] @ v_KD.t()).float().sub_(sample.log_q_K)
                part, inside = slice(0), place_N[:0]
                if drawn is not None and value_P is not None:
                    row_P, column_P = drawn
                    ends = torch.tensor([start, start + len(s_CK)], device=row_P.device)
                    part = slice(*torch.searchsorted(row_P, ends).tolist())
                    inside = (row_P[part] - start) * s_CK.shape[1] + column_P[part]
                    s_CK.view(-1).index_add_(0, inside, value_P[part])
                own = (place_N[chunk] >= 0).nonzero().squeeze(1)
                s_CK[own, place_N[chunk][own]] = -torch.inf
                right_C = right_N[chunk]
                high_C = torch.maximum(s_CK.amax(1), right_C)
                e_CK, e_C = s_CK.sub_(high_C.unsqueeze(1)).exp_(), (right_C - high_C).exp()
                total_C = e_CK.sum(1) + e_C
                loss += (total_C.log() + high_C - right_C).sum()
                slope_CK = e_CK.div_(total_C.unsqueeze(1))
                if grad_P is not None:
                    grad_P[part] = slope_CK.view(-1)[inside]
                grad_right_N[chunk] = e_C / total_C - 1
                low_CK = slope_CK.to(product)
                grad_q_ND[chunk] = (low_CK @ v_KD).to(grad_q_ND.dtype)
                grad_v_KD += low_CK.t() @ q_ND[chunk]
        ctx.save_for_backward(grad_q_ND, grad_v_KD, grad_right_N, grad_P)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = (None if saved is None else saved * grads[0].to(saved.dtype) for saved in ctx.saved_tensors)
        return (*found, None)


@spec
class BPRMax:
    """-log sum_j s_j sigmoid(r - r_j) + `regularization` sum_j s_j r_j^2, s the softmax of the negatives' scores r_j.

    Hidasi and Karatzoglou 2018, "Recurrent neural networks with top-k gains", equation 10.
    """

    negatives: Negatives = Negatives()
    """What is drawn."""
    regularization: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the squared scores of the negatives."""

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemVectors,
        target_N: Tensor,
        sample: Sample | None = None,
        extra: SparseLogits | None = None,
    ) -> Tensor:
        """The sum over targets."""
        logits = sampled_logits(query_ND, items, target_N, sample, extra)
        log_s_NK = logits.negative_NK.log_softmax(1)
        better_NK = logsigmoid(logits.target_N.unsqueeze(1) - logits.negative_NK)
        ranking = -torch.logsumexp(log_s_NK + better_NK, dim=1).sum()
        squares_NK = logits.negative_NK.masked_fill(logits.own_NK, 0.0).square()
        return ranking + self.regularization * (log_s_NK.exp() * squares_NK).sum()


@spec
class TOP1Max:
    """sum_j s_j (sigmoid(r_j - r) + sigmoid(r_j^2)), s the softmax of the negatives' scores r_j.

    Hidasi and Karatzoglou 2018, equation 8.
    """

    negatives: Negatives = Negatives()
    """What is drawn."""

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemVectors,
        target_N: Tensor,
        sample: Sample | None = None,
        extra: SparseLogits | None = None,
    ) -> Tensor:
        """The sum over targets."""
        logits = sampled_logits(query_ND, items, target_N, sample, extra)
        share_NK = logits.negative_NK.softmax(1)
        worse_NK = torch.sigmoid(logits.negative_NK - logits.target_N.unsqueeze(1))
        squares_NK = logits.negative_NK.masked_fill(logits.own_NK, 0.0).square()
        return (share_NK * (worse_NK + torch.sigmoid(squares_NK))).sum()


@spec
class GBCE:
    """Generalised binary cross-entropy: -beta log sigmoid(r) - sum_j log(1 - sigmoid(r_j)).

    beta = a (t (1 - 1 / a) + 1 / a), a the share of the other items that is drawn: it undoes the overconfidence that comes from
    drawing few negatives (Petrov and Macdonald 2023, "gSASRec", equations 14 and 16).
    """

    negatives: Negatives = Negatives(count=256, power=0.0)
    """What is drawn."""
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75
    """t: 0 is plain binary cross-entropy, 1 gives calibrated probabilities."""

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemVectors,
        target_N: Tensor,
        sample: Sample | None = None,
        extra: SparseLogits | None = None,
    ) -> Tensor:
        """The sum over targets."""
        logits = sampled_logits(query_ND, items, target_N, sample, extra)
        others = max(1, len(items.weight) - 2)
        drawn = min(1.0, logits.negative_NK.shape[1] / others)
        beta = drawn * (self.calibration * (1 - 1 / drawn) + 1 / drawn)
        right = beta * softplus(-logits.target_N).sum()
        return right + softplus(logits.negative_NK.masked_fill(logits.own_NK, -torch.inf)).sum()


def sampled_logits(
    query_ND: Tensor,
    items: ItemVectors,
    target_N: Tensor,
    sample: Sample | None,
    extra: SparseLogits | None,
) -> Logits:
    """The logits of the targets and of the negatives, as they are: no log q."""
    assert sample is not None, "the trainer draws what a loss with negatives asks for"
    rows_KD = items.scoring_rows(sample.item_K)
    product = product_type(query_ND.device, rows_KD.dtype)
    with torch.autocast(query_ND.device.type, enabled=False):
        right_N = (query_ND.float() * items.scoring_rows(target_N).float()).sum(1)
        s_NK = (query_ND.to(product) @ rows_KD.to(product).t()).float()
    if extra is not None:
        own_P, drawn_P = _placed(target_N, sample, extra)
        right_N = right_N.index_add(0, extra.row_P[own_P], extra.value_P[own_P])
        places = (extra.row_P[drawn_P], sample.place(extra.item_P[drawn_P]))
        s_NK = s_NK.index_put(places, extra.value_P[drawn_P], accumulate=True)
    own_NK = sample.item_K == target_N.unsqueeze(1)
    return Logits(right_N, s_NK.masked_fill(own_NK, NONE), own_NK)


def _placed(target_N: Tensor, sample: Sample, extra: SparseLogits | None) -> tuple[Tensor, Tensor]:
    """Which additions are to the logits of targets, and which to those of negatives."""
    if extra is None:
        return target_N[:0], target_N[:0]
    own_P = (extra.item_P == target_N[extra.row_P]).nonzero().squeeze(1)
    return own_P, (sample.place(extra.item_P) >= 0).nonzero().squeeze(1)
