"""Losses: sums over targets of how wrong the network was.

Shape letters: N targets, D width, I items. A loss returns the SUM over its targets; the trainer divides once by how many
there are in all processes, so that the number is the same on one and on eight.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from reprise.config import spec
from reprise.models.items import ItemVectors

CHUNK_BYTES = 8 * 2**20
"""Memory for one chunk of logits: rows are taken so that they fit, whatever the catalogue. Near the size of a core's cache."""
CHUNK_ROWS = 128
"""But never fewer rows than make a matrix product worth while."""
ROUND = 64
"""Rows of a chunk are a multiple of this."""


class Loss(Protocol):
    """What every loss is: a frozen dataclass of its settings that can be called."""

    def __call__(self, hidden_ND: Tensor, items: ItemVectors, target_N: Tensor) -> Tensor:
        """The sum over targets; `target_N` holds item indices in 1..I."""
        ...


@spec
class FullSoftmax:
    """Cross-entropy over the whole catalogue: -log softmax(hidden @ vectors.T)[target].

    The logits never exist whole: each chunk of rows makes its own gradients in the forward pass, so memory does not
    grow with targets times items. Under autocast the matrix products run in the lower precision, the softmax in float32.
    """

    def __call__(self, hidden_ND: Tensor, items: ItemVectors, target_N: Tensor, sample=None, extra=None) -> Tensor:
        """The sum over targets, a scalar in float32."""
        kind = hidden_ND.device.type
        product = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else items.weight.dtype
        row = item = value = None
        if extra is not None:
            row, item, value = extra
        loss: Tensor = _ChunkedSoftmax.apply(hidden_ND, items.scoring_ID(), target_N - 1, product, row, item, value)  # type: ignore[no-untyped-call]
        return loss


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, vectors_ID: Tensor, column_N: Tensor, product: torch.dtype, row_P, item_P, value_P
    ) -> Tensor:
        with torch.autocast(hidden_ND.device.type, enabled=False):
            return _ChunkedSoftmax._forward(ctx, hidden_ND, vectors_ID, column_N, product, row_P, item_P, value_P)

    @staticmethod
    def _forward(
        ctx: Any, hidden_ND: Tensor, vectors_ID: Tensor, column_N: Tensor, product: torch.dtype, row_P, item_P, value_P
    ) -> Tensor:
        grad_value_P = None if value_P is None else torch.empty_like(value_P)
        learns = any(ctx.needs_input_grad)
        rows = _chunk_rows(len(hidden_ND), len(vectors_ID))
        v_ID = vectors_ID.detach().to(product)
        # whole chunks only: a last one of another length would cost a new kernel each time
        h_ND = pad(hidden_ND.detach().to(product), (0, 0, 0, -len(hidden_ND) % rows))
        grad_h_ND = torch.empty_like(hidden_ND)
        grad_v_ID = torch.zeros_like(vectors_ID) if learns else vectors_ID
        loss = hidden_ND.new_zeros((), dtype=torch.float32)
        for start in range(0, len(h_ND), rows):
            chunk = slice(start, start + rows)
            column = column_N[chunk].unsqueeze(1)
            p = (h_ND[chunk] @ v_ID.t()).float()
            real = p[: len(column)]
            if value_P is not None:
                lo, hi = torch.searchsorted(row_P, torch.tensor([start, start + rows])).tolist()
                flat_P = (row_P[lo:hi] - start) * real.shape[1] + item_P[lo:hi] - 1
                real.view(-1).index_add_(0, flat_P, value_P[lo:hi])
            right = real.gather(1, column)
            high = real.amax(1, keepdim=True)
            total = real.sub_(high).exp_().sum(1, keepdim=True)
            loss += (total.log() + high - right).sum()
            if learns:
                real.div_(total).scatter_add_(1, column, right.new_full(column.shape, -1.0))
                p[len(column) :] = 0.0
                if value_P is not None:
                    grad_value_P[lo:hi] = real.view(-1)[flat_P]
                slope = p.to(product)
                grad_h_ND[chunk] = (slope @ v_ID)[: len(column)]
                grad_v_ID += slope.t() @ h_ND[chunk]
        ctx.save_for_backward(grad_h_ND, grad_v_ID, grad_value_P)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_h_ND, grad_v_ID, grad_value_P = ctx.saved_tensors
        return grad_h_ND * grads[0].to(grad_h_ND.dtype), grad_v_ID * grads[0], None, None, None, None, None if grad_value_P is None else grad_value_P * grads[0]


def _chunk_rows(targets: int, items: int) -> int:
    """Rows of a chunk: equal chunks that fit, rounded so that batches of about one size have chunks of one size."""
    most = max(CHUNK_ROWS, CHUNK_BYTES // (4 * items))
    chunks = max(1, math.ceil(targets / most))
    return max(1, math.ceil(targets / chunks / ROUND)) * ROUND
