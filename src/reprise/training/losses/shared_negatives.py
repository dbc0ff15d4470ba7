"""Targets against shared negatives, a chunk of rows at a time: what all losses with negatives have in common.

Shape letters: N targets, R rows of a chunk, K negatives, D width. A chunk makes its gradients in
the forward pass, so the N x K logits never exist whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.training.losses.loss import product_type
from reprise.training.losses.negatives import Negatives, Sample

CHUNK_BYTES = 2 * 2**20
"""Memory for one chunk of logits on a processor, about what a core's cache holds."""
DEVICE_BYTES = 256 * 2**20
"""The same on a device, where a product wants to be large."""
ROUND = 64
"""Rows of a chunk are a multiple of this, so that batches of about one size have chunks of one shape."""


class LossGradients(NamedTuple):
    """The loss of some targets and its derivatives."""

    loss: Tensor
    """The sum over them."""
    right_R1: Tensor
    """By the logits of the targets."""
    wrong_RK: Tensor
    """By the logits of the negatives; 0 where a negative is the target itself."""


Chunk = Callable[[Tensor, Tensor], LossGradients]
"""(logits of the targets [R, 1], of the negatives [R, K]) -> loss and slopes, in float32.

A negative that is the target itself has the logit -inf. The logits may be overwritten."""


class SampledLoss(ABC):
    """A loss that holds each target against the same negatives.

    Under autocast the matrix products run in the lower precision, everything else in float32. Of the item vectors only the
    rows of targets and negatives are read, and get a gradient.
    """

    negatives: Negatives

    @abstractmethod
    def chunk(self, sample: Sample, items: int) -> Chunk:
        """The loss and its slopes for some targets, given what was drawn from a catalogue of so many items."""

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemEmbeddings,
        target_N: Tensor,
        sample: Sample | None = None,
    ) -> Tensor:
        """The sum over targets, a scalar in float32; see `Loss`."""
        assert sample is not None, (
            "a loss with negatives needs a sample; the trainer draws what `negatives` says"
        )
        # one look-up for both: a dense table then gets one gradient and not two
        vector_MD = items.scoring_rows(torch.cat([target_N, sample.item_K]))
        chunk = self.chunk(sample, len(items.weight) - 1)
        place_N = sample.place(target_N)
        (hit_row,) = torch.nonzero(place_N >= 0, as_tuple=True)
        how = _How(chunk, product_type(query_ND.device, vector_MD.dtype), hit_row, place_N[hit_row])
        loss: Tensor = _Contrast.apply(query_ND, vector_MD, how)  # type: ignore[no-untyped-call]
        return loss


def by_autograd(loss: Callable[[Tensor, Tensor], Tensor]) -> Chunk:
    """A chunk whose slopes are found by differentiating `loss(right_R1, wrong_RK)`, a sum."""

    def chunk(right_R1: Tensor, wrong_RK: Tensor) -> LossGradients:
        with torch.enable_grad():
            right_R1, wrong_RK = right_R1.detach().requires_grad_(), wrong_RK.detach().requires_grad_()
            total = loss(right_R1, wrong_RK)
            return LossGradients(total.detach(), *torch.autograd.grad(total, (right_R1, wrong_RK)))

    return chunk


class _How(NamedTuple):
    chunk: Chunk
    product: torch.dtype
    hit_row: Tensor
    """Targets that are among the negatives, ascending, ..."""
    hit_column: Tensor
    """... and where."""


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_ND: Tensor, vector_MD: Tensor, how: _How) -> Tensor:
        with torch.autocast(query_ND.device.type, enabled=False):
            work = _Work(query_ND, vector_MD, how)
            loss = work.run()
        ctx.save_for_backward(work.grad_query_ND, work.grad_vector_MD)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None)


class _Work:
    """One call: its tensors in the type of the products, and the gradients as they grow."""

    def __init__(self, query_ND: Tensor, vector_MD: Tensor, how: _How) -> None:
        self.targets, self.how = len(query_ND), how
        negatives = len(vector_MD) - self.targets
        self.rows = chunk_rows(self.targets, 4 * negatives, query_ND.device)
        extended = (0, 0, 0, -self.targets % self.rows)
        # whole chunks only: a last one of another length would cost a new kernel each time
        self.query_ND = pad(query_ND.detach().to(how.product), extended)
        self.right_ND = pad(vector_MD[: self.targets].detach().to(how.product), extended)
        self.wrong_KD = vector_MD[self.targets :].detach().to(how.product)
        self.grad_query_ND = torch.empty_like(query_ND)
        self.grad_vector_MD = torch.zeros_like(vector_MD)

    def run(self) -> Tensor:
        """The loss; afterwards the gradients are there."""
        starts = range(0, len(self.query_ND), self.rows)
        edge = torch.tensor([*starts, len(self.query_ND)], device=self.query_ND.device)
        bounds = torch.searchsorted(self.how.hit_row, edge).tolist()
        loss = self.query_ND.new_zeros((), dtype=torch.float32)
        for start, here, after in zip(starts, bounds, bounds[1:], strict=False):
            loss += self._chunk(slice(start, min(start + self.rows, self.targets)), slice(here, after))
        return loss

    def _chunk(self, real: slice, hits: slice) -> Tensor:
        full = slice(real.start, real.start + self.rows)
        q_RD, v_RD = self.query_ND[full], self.right_ND[full]
        right_R1 = (q_RD.float() * v_RD.float()).sum(1, keepdim=True)
        wrong_RK = (q_RD @ self.wrong_KD.t()).float()
        wrong_RK[self.how.hit_row[hits] - real.start, self.how.hit_column[hits]] = -torch.inf
        length = real.stop - real.start
        slopes = self.how.chunk(right_R1[:length], wrong_RK[:length])
        wrong_RK = slopes.wrong_RK
        if length < self.rows:
            wrong_RK = pad(wrong_RK, (0, 0, 0, self.rows - length))
        slope_RK = wrong_RK.to(self.how.product)
        self.grad_query_ND[real] = (slope_RK @ self.wrong_KD)[:length] + slopes.right_R1 * v_RD[:length]
        self.grad_vector_MD[real] = (slopes.right_R1 * q_RD[:length]).to(self.grad_vector_MD.dtype)
        self.grad_vector_MD[self.targets :] += slope_RK.t() @ q_RD
        return slopes.loss


def chunk_rows(targets: int, row_bytes: int, device: torch.device) -> int:
    """Rows of a chunk: equal chunks that fit, rounded so that batches of about one size have chunks of one size."""
    memory = CHUNK_BYTES if device.type == "cpu" else DEVICE_BYTES
    chunks = max(1, -(-targets // max(ROUND, memory // row_bytes)))
    return max(1, -(-targets // (chunks * ROUND))) * ROUND
