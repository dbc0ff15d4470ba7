"""Losses of targets against negatives that a whole batch shares, computed in chunks of rows.

Shape letters: N targets, R rows of a chunk, K negatives, M = N + K, D width. A chunk computes its gradients in the forward
pass, so the [N, K] logits never exist in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.loss import product_dtype
from reprise.training.losses.negatives import Negatives, Sample

CHUNK_BYTES = 2 * 2**20
"""Memory for the logits of one chunk on a CPU, near the size of a core's cache."""
DEVICE_BYTES = 256 * 2**20
"""Memory for the logits of one chunk on an accelerator, which needs large products."""
NEEDS_SAMPLE = "a loss with negatives needs a sample; the trainer draws it by `negatives`"
ROUND = 64
"""The number of rows of a chunk is a multiple of this, so that batches of similar size have chunks of the same shape."""


class LossGradients(NamedTuple):
    """The loss of some targets and its derivatives with respect to their logits."""

    loss: Tensor
    """Sum of the losses of the targets, a scalar."""
    positive_R1: Tensor
    """Derivatives with respect to the logits of the targets."""
    negative_RK: Tensor
    """Derivatives with respect to the logits of the negatives; 0 where a negative is the target itself."""


ChunkLoss = Callable[[Tensor, Tensor], LossGradients]
"""Function of the logits of the targets [R, 1] and of the negatives [R, K] that returns loss and gradients in float32.

A negative that is the target itself has the logit -inf. The function may overwrite the logits."""


class SampledLoss(ABC):
    """A loss that compares each target with the same negatives.

    Under autocast the matrix products run in the lower precision, everything else in float32. Only the item vectors of
    targets and negatives are read, and only these rows have a gradient.
    """

    negatives: Negatives

    @abstractmethod
    def chunk_loss(self, sample: Sample, items: int) -> ChunkLoss:
        """Return the function that computes the loss of a chunk, for a sample from a catalogue of `items` items."""

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemEmbeddings,
        target_N: Tensor,
        sample: Sample | None = None,
    ) -> Tensor:
        """Return the sum of the losses of all targets, a scalar in float32; see `Loss`."""
        assert sample is not None, NEEDS_SAMPLE
        # one look-up for targets and negatives: with two, autograd would build two gradients of the whole item table
        vector_MD = items.scoring_rows(torch.cat([target_N, sample.item_K]))
        chunk_loss = self.chunk_loss(sample, items.candidates)
        # Example: with the negatives [2, 5, 9], the targets [5, 1, 9] have the columns [1, -1, 2]. So the logits at
        # (row 0, column 1) and (row 2, column 2) are set to -inf: a target is not its own negative
        column_N = sample.column_of(target_N)
        (hit_row,) = torch.nonzero(column_N >= 0, as_tuple=True)
        product = product_dtype(query_ND.device, vector_MD.dtype)
        context = _SampledContext(chunk_loss, product, hit_row, column_N[hit_row])
        loss: Tensor = _SampledFunction.apply(query_ND, vector_MD, context)  # type: ignore[no-untyped-call]
        return loss


def by_autograd(loss: Callable[[Tensor, Tensor], Tensor]) -> ChunkLoss:
    """Return a `ChunkLoss` that differentiates `loss(positive_R1, negative_RK)`, which returns a sum over rows."""

    def chunk_loss(positive_R1: Tensor, negative_RK: Tensor) -> LossGradients:
        with torch.enable_grad():
            positive_R1 = positive_R1.detach().requires_grad_()
            negative_RK = negative_RK.detach().requires_grad_()
            total = loss(positive_R1, negative_RK)
            return LossGradients(total.detach(), *torch.autograd.grad(total, (positive_R1, negative_RK)))

    return chunk_loss


class _SampledContext(NamedTuple):
    """Arguments of one call that need no gradient."""

    chunk_loss: ChunkLoss
    product: torch.dtype
    hit_row: Tensor
    """Targets that are among the negatives, ascending."""
    hit_column: Tensor
    """Column of each of these targets among the negatives."""


class _SampledFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_ND: Tensor, vector_MD: Tensor, context: _SampledContext) -> Tensor:
        with torch.autocast(query_ND.device.type, enabled=False):
            accumulator = _SampledAccumulator(query_ND, vector_MD, context)
            loss = accumulator.run()
        ctx.save_for_backward(accumulator.grad_query_ND, accumulator.grad_vector_MD)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None)


class _SampledAccumulator:
    """State of one call: its tensors in the type of the products, and the gradients accumulated so far."""

    def __init__(self, query_ND: Tensor, vector_MD: Tensor, context: _SampledContext) -> None:
        self.targets, self.context = len(query_ND), context
        negatives = len(vector_MD) - self.targets
        self.rows = chunk_rows(self.targets, 4 * negatives, query_ND.device)
        padding = (0, 0, 0, -self.targets % self.rows)
        # all chunks have the same number of rows: the CPU library compiles and caches a kernel for each new shape
        self.query_ND = pad(query_ND.detach().to(context.product), padding)
        self.positive_ND = pad(vector_MD[: self.targets].detach().to(context.product), padding)
        self.negative_KD = vector_MD[self.targets :].detach().to(context.product)
        self.grad_query_ND = torch.empty_like(query_ND)
        self.grad_vector_MD = torch.zeros_like(vector_MD)

    def run(self) -> Tensor:
        """Return the loss. Afterwards the gradients are complete."""
        starts = range(0, len(self.query_ND), self.rows)
        edge = torch.tensor([*starts, len(self.query_ND)], device=self.query_ND.device)
        # for all chunks together: `tolist` waits for an accelerator, so it is called only once
        bounds = torch.searchsorted(self.context.hit_row, edge).tolist()
        loss = self.query_ND.new_zeros((), dtype=torch.float32)
        for start, first, after in zip(starts, bounds, bounds[1:], strict=False):
            loss += self._chunk(slice(start, min(start + self.rows, self.targets)), slice(first, after))
        return loss

    def _chunk(self, real: slice, hits: slice) -> Tensor:
        """Return the loss of the rows `real`, in which `hits` are to be excluded, and add their gradients."""
        full = slice(real.start, real.start + self.rows)
        q_RD, v_RD = self.query_ND[full], self.positive_ND[full]
        positive_R1 = (q_RD.float() * v_RD.float()).sum(1, keepdim=True)
        negative_RK = (q_RD @ self.negative_KD.t()).float()
        negative_RK[self.context.hit_row[hits] - real.start, self.context.hit_column[hits]] = -torch.inf
        length = real.stop - real.start
        gradients = self.context.chunk_loss(positive_R1[:length], negative_RK[:length])
        grad_RK = gradients.negative_RK
        # padding rows are left out of the loss and return with a gradient of 0, so that the products keep their shape
        if length < self.rows:
            grad_RK = pad(grad_RK, (0, 0, 0, self.rows - length))
        grad_RK = grad_RK.to(self.context.product)
        self.grad_query_ND[real] = (grad_RK @ self.negative_KD)[:length] + gradients.positive_R1 * v_RD[
            :length
        ]
        self.grad_vector_MD[real] = (gradients.positive_R1 * q_RD[:length]).to(self.grad_vector_MD.dtype)
        self.grad_vector_MD[self.targets :] += grad_RK.t() @ q_RD
        return gradients.loss


def chunk_rows(targets: int, row_bytes: int, device: torch.device) -> int:
    """Return the number of rows of a chunk, with `row_bytes` of logits per row.

    Chunks are equal, fit into `CHUNK_BYTES`, and are rounded. Example: on a CPU with 2,048 negatives a row takes 8 KiB, so
    256 rows fit. 1,000 targets make 4 chunks of 256 rows, and 1,010 targets too.
    """
    memory = CHUNK_BYTES if device.type == "cpu" else DEVICE_BYTES
    chunks = max(1, -(-targets // max(ROUND, memory // row_bytes)))
    return max(1, -(-targets // (chunks * ROUND))) * ROUND
