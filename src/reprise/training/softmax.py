"""Cross-entropy over the whole catalogue, without the whole table of logits.

Shape letters: N targets, C targets of a chunk, D width, I items, P additions to logits.
"""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from reprise.config import spec
from reprise.models.items import ItemVectors, SparseLogits
from reprise.training.losses import product_type
from reprise.training.negatives import Sample

CHUNK_BYTES = 8 * 2**20
"""Memory for one chunk of logits: rows are taken so that they fit, whatever the catalogue. Near the size of a core's cache."""
CHUNK_ROWS = 128
"""But never fewer rows than make a matrix product worth while."""
ROUND = 64
"""Rows of a chunk are a multiple of this."""

Additions = tuple[Tensor, Tensor]
"""(place_P in the flat table of logits [N * I], value_P), ascending in rows."""


@spec
class FullSoftmax:
    """Cross-entropy over the whole catalogue: -log softmax(query @ vectors.T)[target].

    The logits never exist whole: each chunk of rows makes its own gradients in the forward pass, so memory does not
    grow with targets times items. Under autocast the matrix products run in the lower precision, the softmax in float32.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target's weight that is spread over all items (Szegedy et al. 2016, section 7)."""

    @property
    def negatives(self) -> None:
        """None: it looks at all items."""
        return None

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemVectors,
        target_N: Tensor,
        sample: Sample | None = None,
        extra: SparseLogits | None = None,
    ) -> Tensor:
        """The sum over targets, a scalar in float32."""
        vectors_ID = items.scoring_ID()
        product = product_type(query_ND.device, vectors_ID.dtype)
        place_P = value_P = None
        if extra is not None:
            place_P = extra.row_P * len(vectors_ID) + extra.item_P - 1
            value_P = extra.value_P
        settings = (product, self.label_smoothing)
        loss: Tensor = _ChunkedSoftmax.apply(query_ND, vectors_ID, value_P, place_P, target_N - 1, settings)  # type: ignore[no-untyped-call]
        return loss


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_ND: Tensor,
        vectors_ID: Tensor,
        value_P: Tensor | None,
        place_P: Tensor | None,
        column_N: Tensor,
        settings: tuple[torch.dtype, float],
    ) -> Tensor:
        product, smoothing = settings
        with torch.autocast(query_ND.device.type, enabled=False):
            added = None if value_P is None or place_P is None else (place_P, value_P.detach())
            work = _Chunks(query_ND.detach(), vectors_ID.detach(), column_N, added, smoothing)
            loss, grads = work.run(product, learns=any(ctx.needs_input_grad))
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query_ND, vectors_ID, value_P = ctx.saved_tensors
        (grad,) = grads
        added = None if value_P is None else value_P * grad
        return query_ND * grad.to(query_ND.dtype), vectors_ID * grad, added, None, None, None


class _Chunks:
    """One pass over the targets."""

    def __init__(
        self,
        query_ND: Tensor,
        vectors_ID: Tensor,
        column_N: Tensor,
        added: Additions | None,
        smoothing: float,
    ) -> None:
        self.query_ND, self.vectors_ID, self.column_N = query_ND, vectors_ID, column_N
        self.added, self.smoothing = added, smoothing
        self.rows = _chunk_rows(len(query_ND), len(vectors_ID))

    def run(self, product: torch.dtype, learns: bool) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor | None]]:
        """(loss, gradients of the queries, the vectors and the additions)."""
        v_ID = self.vectors_ID.to(product)
        # whole chunks only: a last one of another length would cost a new kernel each time
        q_ND = pad(self.query_ND.to(product), (0, 0, 0, -len(self.query_ND) % self.rows))
        grad_q_ND = torch.empty_like(self.query_ND)
        grad_v_ID = torch.zeros_like(self.vectors_ID) if learns else self.vectors_ID
        grad_P = None if self.added is None else torch.empty_like(self.added[1])
        loss = self.query_ND.new_zeros((), dtype=torch.float32)
        for start in range(0, len(q_ND), self.rows):
            chunk = slice(start, start + self.rows)
            column = self.column_N[chunk].unsqueeze(1)
            p = (q_ND[chunk] @ v_ID.t()).float()
            real = p[: len(column)]
            part = self._add(real, start)
            loss += self._loss(real, column)
            if not learns:
                continue
            p[len(column) :] = 0.0
            if part is not None and grad_P is not None:
                grad_P[part[0]] = real.view(-1)[part[1]]
            slope = p.to(product)
            grad_q_ND[chunk] = (slope @ v_ID)[: len(column)]
            grad_v_ID += slope.t() @ q_ND[chunk]
        return loss, (grad_q_ND, grad_v_ID, grad_P)

    def _add(self, s_CI: Tensor, start: int) -> tuple[slice, Tensor] | None:
        """Put the additions of these rows into `s_CI`: which of all they are, and their places in it."""
        if self.added is None:
            return None
        place_P, value_P = self.added
        ends = torch.tensor([start, start + len(s_CI)], device=place_P.device) * s_CI.shape[1]
        first, last = torch.searchsorted(place_P // s_CI.shape[1] * s_CI.shape[1], ends).tolist()
        inside = place_P[first:last] - start * s_CI.shape[1]
        s_CI.view(-1).index_add_(0, inside, value_P[first:last].to(s_CI.dtype))
        return slice(first, last), inside

    def _loss(self, s_CI: Tensor, column_C1: Tensor) -> Tensor:
        """The loss of a chunk; `s_CI` becomes the gradient of the logits."""
        right = s_CI.gather(1, column_C1)
        if self.smoothing:
            right = (1 - self.smoothing) * right + self.smoothing * s_CI.mean(1, keepdim=True)
        high = s_CI.amax(1, keepdim=True)
        total = s_CI.sub_(high).exp_().sum(1, keepdim=True)
        s_CI.div_(total).scatter_add_(1, column_C1, right.new_full(column_C1.shape, self.smoothing - 1))
        if self.smoothing:
            s_CI.sub_(self.smoothing / s_CI.shape[1])
        return (total.log() + high - right).sum()


def _chunk_rows(targets: int, items: int) -> int:
    """Rows of a chunk: equal chunks that fit, rounded so that batches of about one size have chunks of one size."""
    most = max(CHUNK_ROWS, CHUNK_BYTES // (4 * items))
    chunks = max(1, math.ceil(targets / most))
    return max(1, math.ceil(targets / chunks / ROUND)) * ROUND
