"""Softmax over the whole catalogue, without its logits ever being whole.

Shape letters: N targets, R rows of a chunk, J items of a block, I items, D width. A chunk of
rows reads the item vectors block by block and keeps e^(s - top), `top` being the largest logit so far, or 0 where the lengths
of all vectors say that no logit is large; when the sum is known, the same numbers give the gradient of the item vectors. So
there are three matrix products and no more.
"""

import itertools
import math
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from reprise.config import spec
from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.training.losses.loss import product_type
from reprise.training.losses.negatives import Sample

BLOCK_BYTES = 4 * 2**20
"""Memory for the logits of one block on a processor, near the size of a core's cache."""
DEVICE_BYTES = 256 * 2**20
"""The same on a device, where a product wants to be large."""
KEPT_BYTES = 2**30
"""Memory for what a chunk keeps of all its blocks."""
CHUNK_ROWS = 1024, 128
"""Rows of a chunk when its blocks are several: as many as the first, but not under the second where memory is short."""
ROUND = 32
"""Rows of a chunk, and items of a block, are a multiple of this."""
SMALL_BITS = 60.0
"""Logits up to this size, in bits, are exponentiated as they are: a sum of 2^40 of them is far from the end of float32."""
LOG_2 = math.log(2)


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
        items: ItemEmbeddings,
        target_N: Tensor,
        sample: Sample | None = None,
    ) -> Tensor:
        """The sum over targets, a scalar in float32."""
        vectors_ID = items.scoring_ID()
        product = product_type(query_ND.device, vectors_ID.dtype)
        how = _How(product, self.label_smoothing, target_N - 1)
        loss: Tensor = _ChunkedSoftmax.apply(query_ND, vectors_ID, how)  # type: ignore[no-untyped-call]
        return loss


class _How(NamedTuple):
    product: torch.dtype
    smoothing: float
    column_N: Tensor


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_ND: Tensor, vectors_ID: Tensor, how: _How) -> Tensor:
        with torch.autocast(query_ND.device.type, enabled=False):
            work = _Work(query_ND, vectors_ID, how, learns=any(ctx.needs_input_grad))
            loss = work.run()
        ctx.save_for_backward(work.grad_query_ND, work.grad_vectors_ID)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # in place: nobody else holds these, and the one of the item vectors is as large as they are
        return (*(saved.mul_(grads[0]) for saved in ctx.saved_tensors), None)


class _Work:
    """One call: its tensors in the type of the products, and the gradients as they grow.

    Logits are in bits, log2 instead of log: `exp2` takes a third of the time of `exp`. The target's own logit is kept apart
    in float32, so that the slope of a target that is almost certain, p - 1, is not lost in rounding.
    """

    def __init__(self, query_ND: Tensor, vectors_ID: Tensor, how: _How, *, learns: bool) -> None:
        self.how, self.learns, self.targets, items = how, learns, len(query_ND), len(vectors_ID)
        self.rows, width = chunk_shape(self.targets, items, how.product.itemsize, query_ND.device)
        extended = -self.targets % self.rows
        # whole chunks only: a last one of another length would cost a new kernel each time
        query_ND = pad(query_ND.detach(), (0, 0, 0, extended))
        self.query_ND, self.bits_ND = query_ND.to(how.product), (query_ND / LOG_2).to(how.product)
        self.column_N = pad(how.column_N, (0, extended))
        self.vectors_ID = vectors_ID.detach().to(how.product)
        self.small = _small(self.bits_ND, self.vectors_ID)
        self.blocks = [slice(at, min(at + width, items)) for at in range(0, items, width)]
        self.hidden = self._targets_by_block()
        self.grad_query_ND = query_ND.new_empty(query_ND.shape)
        self.grad_vectors_ID = torch.zeros_like(vectors_ID) if learns else vectors_ID.new_empty(0)
        # made once: memory that is asked for again and again costs as much as the arithmetic
        kept = self.blocks if learns else self.blocks[:1]
        self.kept = [self.query_ND.new_empty(self.rows * (block.stop - block.start)) for block in kept]
        self.wide = query_ND.new_empty(self.rows * width, dtype=torch.float32)

    def run(self) -> Tensor:
        """The loss; afterwards the gradients are there."""
        loss = self.query_ND.new_zeros((), dtype=torch.float32)
        for number in range(len(self.query_ND) // self.rows):
            loss += self._chunk(number)
        self.grad_query_ND = self.grad_query_ND[: self.targets]
        return loss + self._smooth() if self.how.smoothing else loss

    def _chunk(self, number: int) -> Tensor:
        """The loss of one chunk of rows, which leaves its gradients behind."""
        rows = slice(number * self.rows, (number + 1) * self.rows)
        target_RD = self.vectors_ID[self.column_N[rows]].float()
        right_R1 = (self.bits_ND[rows].float() * target_RD).sum(1, keepdim=True)
        top_R1 = torch.zeros_like(right_R1) if self.small else right_R1
        rest_R1, mean_RD = torch.zeros_like(right_R1), torch.zeros_like(target_RD)
        tops = []
        for place, hidden in enumerate(self.hidden[number]):
            e_RJ, sum_R1, higher_R1 = self._block(rows, place, hidden, top_R1)
            if not self.small:
                shrink_R1 = (top_R1 - higher_R1).exp2_()
                rest_R1, mean_RD = rest_R1.mul_(shrink_R1), mean_RD.mul_(shrink_R1)
            rest_R1, top_R1 = rest_R1.add_(sum_R1), higher_R1
            if self.learns:
                mean_RD += e_RJ @ self.vectors_ID[self.blocks[place]]
                tops.append(top_R1)
        total_R1 = rest_R1 + (right_R1 - top_R1).exp2_()
        if self.learns:
            slope_R1 = self.how.smoothing - rest_R1 / total_R1
            self.grad_query_ND[rows] = torch.addcmul(mean_RD / total_R1, slope_R1, target_RD)
            # one top for all blocks is one scale for all
            tops = tops[:1] if self.small else tops
            self._learn_vectors(rows, [(top - top_R1).exp2_() / total_R1 for top in tops], slope_R1)
        loss_R1 = total_R1.log2() + top_R1 - (1 - self.how.smoothing) * right_R1
        return LOG_2 * loss_R1[: max(0, self.targets - rows.start)].sum()

    def _targets_by_block(self) -> list[list[tuple[Tensor, Tensor]]]:
        """For each chunk and block the rows whose target is in it, and the target's place there."""
        chunks = self.column_N.view(-1, self.rows).sort(dim=1)
        starts = torch.tensor([block.start for block in self.blocks], device=self.column_N.device)
        # all at once: a device is waited for here
        edges = torch.searchsorted(chunks.values, starts.expand(len(chunks.values), -1).contiguous()).tolist()
        return [
            [
                (row_R[begin:end], column_R[begin:end] - block.start)
                for block, (begin, end) in zip(
                    self.blocks, itertools.pairwise([*edge, self.rows]), strict=True
                )
            ]
            for column_R, row_R, edge in zip(*chunks, edges, strict=True)
        ]

    def _block(
        self, rows: slice, place: int, hidden: tuple[Tensor, Tensor], top_R1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """e^(s - top) of one block in the type of the products, 0 at the targets; the sum of each row; the new top."""
        block = self.blocks[place]
        width = block.stop - block.start
        low_RJ = self.kept[place if self.learns else 0][: self.rows * width].view(self.rows, width)
        torch.mm(self.bits_ND[rows], self.vectors_ID[block].t(), out=low_RJ)
        s_RJ = low_RJ
        if low_RJ.dtype != torch.float32:
            s_RJ = self.wide[: low_RJ.numel()].view_as(low_RJ).copy_(low_RJ)
        s_RJ[hidden] = -torch.inf
        if not self.small:
            top_R1 = torch.maximum(top_R1, s_RJ.amax(1, keepdim=True))
            s_RJ.sub_(top_R1)
        sum_R1 = s_RJ.exp2_().sum(1, keepdim=True)
        return low_RJ.copy_(s_RJ), sum_R1, top_R1

    def _learn_vectors(self, rows: slice, scales: list[Tensor], slope_R1: Tensor) -> None:
        """What a chunk adds to the gradient of the item vectors; `scales` one for each block, or one for all."""
        real = max(0, self.targets - rows.start)
        q_RD = self.query_ND[rows]
        for place, block in enumerate(self.blocks):
            if place < len(scales):
                scaled_RD = (q_RD * scales[place]).to(q_RD.dtype)
            # rows beyond the last target have a query of 0 and add nothing
            self.grad_vectors_ID[block] += self.kept[place].view(self.rows, -1).t() @ scaled_RD
        target = self.column_N[rows][:real]
        self.grad_vectors_ID.index_add_(0, target, (slope_R1 * q_RD)[:real].to(self.grad_vectors_ID.dtype))

    def _smooth(self) -> Tensor:
        """What the share of all items costs: -e / I times the sum of all logits, and its slopes."""
        share = self.how.smoothing / len(self.vectors_ID)
        query_D, vector_D = (x.sum(0, dtype=torch.float32) for x in (self.query_ND, self.vectors_ID))
        total = query_D @ vector_D
        if self.learns:
            self.grad_query_ND -= share * vector_D
            self.grad_vectors_ID -= share * query_D
        return -share * total


def _small(bits_ND: Tensor, vectors_ID: Tensor) -> bool:
    """Whether the lengths of the vectors keep all logits small; angles over a temperature always are.

    In float16 none are small enough: it ends at 2^16.
    """
    if math.log2(torch.finfo(bits_ND.dtype).max) < 2 * SMALL_BITS:
        return False
    lengths = (torch.linalg.vector_norm(x, dim=1, dtype=torch.float32) for x in (bits_ND, vectors_ID))
    most_bits, most_vector = (length.max() if len(length) else length.sum() for length in lengths)
    return bool(most_bits * most_vector <= SMALL_BITS)


def chunk_shape(targets: int, items: int, size: int, device: torch.device) -> tuple[int, int]:
    """Rows of a chunk and items of a block for logits that take `size` bytes.

    All the catalogue in one block where that leaves enough rows, else several blocks. Chunks are equal and rounded, so
    that batches of about one size have chunks of one shape.
    """
    memory = (BLOCK_BYTES if device.type == "cpu" else DEVICE_BYTES) // 4
    most, least = CHUNK_ROWS
    if memory // items >= most:
        return _even(targets, memory // items), items
    most = min(most, max(least, KEPT_BYTES // (size * items)))
    # one chunk more where that leaves fewer rows empty: each is as dear as a target
    rows = min(
        (_even(targets, most), _even(targets, max(ROUND, most - most // 8))),
        key=lambda rows: math.ceil(targets / rows) * rows,
    )
    return rows, min(items, _even(items, max(ROUND, memory // rows)))


def _even(count: int, most: int) -> int:
    """The length of equal parts of about `most` or fewer, rounded up."""
    parts = max(1, math.ceil(count / most))
    return max(1, math.ceil(count / parts / ROUND)) * ROUND
