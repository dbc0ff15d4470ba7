"""Softmax cross-entropy over all candidates in chunks, so that the [N, K] logits never exist in memory.

Shape letters: N targets, R rows of a chunk, K candidates (the catalogue or a sample of it), J candidates of a block, M item
vectors, D width. A chunk of rows reads the candidates block by block and keeps e^(s - max), where max is the running maximum
of the row, or 0 if the norms of the vectors bound all logits. When the sum is known, these numbers also give the gradients:
three matrix products in total. The weights of candidates are applied to the vectors and not to the logits.
"""

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK_BYTES = 4 * 2**20
"""Memory for the logits of one block on a CPU, near the size of a core's cache."""
DEVICE_BYTES = 256 * 2**20
"""Memory for the logits of one block on an accelerator, which needs large products."""
KEPT_BYTES = 2**30
"""Memory for the exponentials of all blocks that a chunk keeps for the gradient of the item vectors."""
CHUNK_ROWS = 1024, 128
"""Maximum number of rows of a chunk with several blocks, and the minimum when `KEPT_BYTES` would allow fewer."""
ROUND = 32
"""The number of rows of a chunk and the number of items of a block are multiples of this."""
MAX_UNSHIFTED_BITS = 60.0
"""Largest logit, in bits, that is exponentiated without subtracting the row maximum.

A sum of 2^40 terms of 2^60 is 2^100, and float32 reaches 2^127. The smallest term, 2^-60, is far above its end at 2^-126.
"""
LOG_2 = math.log(2)


class SoftmaxTask(NamedTuple):
    """Arguments of one call that need no gradient. The candidates are the rows of the vectors from `first` on."""

    product: torch.dtype
    """Type of the matrix products."""
    positive_N: Tensor
    """Row of each target in the vectors."""
    excluded_N: Tensor
    """Candidate that is the target itself, 0..K-1, so that it is not summed twice; -1 if the target is not a candidate."""
    first: int = 0
    """Row of the first candidate."""
    weight_K: Tensor | None = None
    """Weight of each candidate in the sum, float32; None: 1. The targets must then come before the candidates."""
    smoothing: float = 0.0
    """Share of the target's weight that is spread over all candidates."""


def chunked_softmax(query_ND: Tensor, vectors_MD: Tensor, task: SoftmaxTask) -> Tensor:
    """Return the sum over targets of log(e^r + sum_j w_j e^r_j) - r, a scalar in float32.

    r is the logit of the target, r_j that of candidate j with the weight w_j. Each chunk of rows computes its own gradients
    in the forward pass, so memory does not grow with targets times candidates.
    """
    loss: Tensor = _ChunkedSoftmax.apply(query_ND, vectors_MD, task)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_ND: Tensor, vectors_MD: Tensor, task: SoftmaxTask) -> Tensor:
        with torch.autocast(query_ND.device.type, enabled=False):
            accumulator = _SoftmaxAccumulator(query_ND, vectors_MD, task, any(ctx.needs_input_grad))
            loss = accumulator.run()
        ctx.save_for_backward(accumulator.grad_query_ND, accumulator.grad_vectors_MD)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # in place: nothing else refers to these tensors, and a copy of the second is as large as the item table
        return (*(saved.mul_(grads[0]) for saved in ctx.saved_tensors), None)


class _SoftmaxAccumulator:
    """State of one call: its tensors in the type of the products, and the gradients accumulated so far.

    Logits are in bits (log2 instead of log), because `exp2` takes a third of the time of `exp`. Example: of a row with the
    logits [1, 3] in the first block and [5, 2] in the second, the first block gives max 3 and sum 2^-2 + 2^0 = 1.25. The
    second raises the max to 5, so the sum becomes 1.25 x 2^(3 - 5) + 2^0 + 2^-3 = 1.4375, and the log of the total is
    5 + log2(1.4375) = log2(2 + 8 + 32 + 4), as with all four logits in one block.
    """

    def __init__(self, query_ND: Tensor, vectors_MD: Tensor, task: SoftmaxTask, needs_grad: bool) -> None:
        self.task, self.needs_grad = task, needs_grad
        self.targets, candidates = len(query_ND), len(vectors_MD) - task.first
        self.rows, width = chunk_shape(self.targets, candidates, task.product.itemsize, query_ND.device)
        padding = -self.targets % self.rows
        # all chunks have the same number of rows: the CPU library compiles and caches a kernel for each new shape
        query_ND = pad(query_ND.detach(), (0, 0, 0, padding))
        self.query_ND, self.bits_ND = query_ND.to(task.product), (query_ND / LOG_2).to(task.product)
        self.positive_N, self.excluded_N = (
            pad(task.positive_N, (0, padding)),
            pad(task.excluded_N, (0, padding)),
        )
        vectors_MD = vectors_MD.detach()
        self.vectors_MD = vectors_MD.to(task.product)
        self.unshifted = _logits_are_bounded(self.bits_ND, self.vectors_MD)
        self.grad_query_ND = query_ND.new_empty(query_ND.shape)
        self.weight_K = task.weight_K
        self.candidate_KD = self.weighted_KD = self.vectors_MD[task.first :]
        extra = 0
        if self.weight_K is not None:
            # sampled candidates vary in number, so they are padded as the rows are, by candidates of weight 0
            extra = -candidates % width
            self.weight_K = pad(self.weight_K, (0, extra))
            self.candidate_KD = pad(self.candidate_KD, (0, 0, 0, extra))
            self.weighted_KD = (self.candidate_KD * self.weight_K.unsqueeze(1)).to(task.product)
        sizes = (len(vectors_MD) + extra, vectors_MD.shape[1]) if needs_grad else (0, 0)
        self.grad_padded = vectors_MD.new_zeros(sizes)
        self.grad_candidate_KD = self.grad_padded[task.first :]
        self.grad_vectors_MD = self.grad_padded[: len(vectors_MD)]
        total = candidates + extra
        self.blocks = [slice(at, min(at + width, total)) for at in range(0, total, width)]
        self.excluded_places = self._excluded_by_block()
        # buffers for all chunks: allocating them for each chunk costs as much time as the arithmetic
        kept = self.blocks if needs_grad else self.blocks[:1]
        self.kept = [self.query_ND.new_empty(self.rows * (block.stop - block.start)) for block in kept]
        self.float_buffer = query_ND.new_empty(self.rows * width, dtype=torch.float32)

    def run(self) -> Tensor:
        """Return the loss. Afterwards the gradients are complete."""
        loss = self.query_ND.new_zeros((), dtype=torch.float32)
        for number in range(len(self.query_ND) // self.rows):
            loss += self._chunk(number)
        self.grad_query_ND = self.grad_query_ND[: self.targets]
        if self.needs_grad and self.weight_K is not None:
            self.grad_candidate_KD.mul_(self.weight_K.unsqueeze(1))
        return loss + self._smooth() if self.task.smoothing else loss

    def _chunk(self, number: int) -> Tensor:
        """Return the loss of one chunk of rows and add its gradients."""
        rows = slice(number * self.rows, (number + 1) * self.rows)
        target_RD = self.vectors_MD[self.positive_N[rows]].float()
        # the positive's logit is kept apart in float32, and its gradient is -(sum of the others) / total instead of
        # p - 1: for a target that is almost certain, the difference would be lost in rounding
        positive_R1 = (self.bits_ND[rows].float() * target_RD).sum(1, keepdim=True)
        max_R1 = torch.zeros_like(positive_R1) if self.unshifted else positive_R1
        others_R1, mean_RD = torch.zeros_like(positive_R1), torch.zeros_like(target_RD)
        maxima = []
        for place, excluded in enumerate(self.excluded_places[number]):
            exp_RJ, sum_R1, new_max_R1 = self._block(rows, place, excluded, max_R1)
            if not self.unshifted:
                shrink_R1 = (max_R1 - new_max_R1).exp2_()
                others_R1, mean_RD = others_R1.mul_(shrink_R1), mean_RD.mul_(shrink_R1)
            others_R1, max_R1 = others_R1.add_(sum_R1), new_max_R1
            if self.needs_grad:
                mean_RD += exp_RJ @ self.weighted_KD[self.blocks[place]]
                maxima.append(max_R1)
        total_R1 = others_R1 + (positive_R1 - max_R1).exp2_()
        if self.needs_grad:
            grad_R1 = self.task.smoothing - others_R1 / total_R1
            self.grad_query_ND[rows] = torch.addcmul(mean_RD / total_R1, grad_R1, target_RD)
            # without a shift all blocks have the same maximum, 0, so one scale serves all of them
            maxima = maxima[:1] if self.unshifted else maxima
            scales = [(block_max - max_R1).exp2_() / total_R1 for block_max in maxima]
            self._add_vector_gradients(rows, scales, grad_R1)
        loss_R1 = total_R1.log2() + max_R1 - (1 - self.task.smoothing) * positive_R1
        return LOG_2 * loss_R1[: max(0, self.targets - rows.start)].sum()

    def _excluded_by_block(self) -> list[list[tuple[Tensor, Tensor]]]:
        """Return for each chunk and block the rows whose target is a candidate of the block, and the target's column there."""
        chunks = self.excluded_N.view(-1, self.rows).sort(dim=1)
        starts = torch.tensor([block.start for block in self.blocks], device=self.excluded_N.device)
        # for all chunks together: `tolist` waits for an accelerator, so it is called only once. Targets that are not
        # candidates (-1) come first and are in no block
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
        self, rows: slice, place: int, excluded: tuple[Tensor, Tensor], max_R1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return e^(s - max) of one block in the type of the products, its weighted sum per row, and the new maximum.

        The excluded entries are 0.
        """
        block = self.blocks[place]
        width = block.stop - block.start
        low_RJ = self.kept[place if self.needs_grad else 0][: self.rows * width].view(self.rows, width)
        torch.mm(self.bits_ND[rows], self.candidate_KD[block].t(), out=low_RJ)
        s_RJ = low_RJ
        if low_RJ.dtype != torch.float32:
            s_RJ = self.float_buffer[: low_RJ.numel()].view_as(low_RJ).copy_(low_RJ)
        s_RJ[excluded] = -torch.inf
        if not self.unshifted:
            max_R1 = torch.maximum(max_R1, s_RJ.amax(1, keepdim=True))
            s_RJ.sub_(max_R1)
        s_RJ.exp2_()
        sum_R = s_RJ.sum(1) if self.weight_K is None else s_RJ @ self.weight_K[block]
        return low_RJ.copy_(s_RJ), sum_R.unsqueeze(1), max_R1

    def _add_vector_gradients(self, rows: slice, scales: list[Tensor], grad_R1: Tensor) -> None:
        """Add the gradients of a chunk to those of the item vectors; `scales` has one entry per block, or one for all."""
        real = max(0, self.targets - rows.start)
        q_RD = self.query_ND[rows]
        for place, block in enumerate(self.blocks):
            if place < len(scales):
                scaled_RD = (q_RD * scales[place]).to(q_RD.dtype)
            # padding rows have a query of 0 and add nothing
            self.grad_candidate_KD[block] += self.kept[place].view(self.rows, -1).t() @ scaled_RD
        positive = self.positive_N[rows][:real]
        self.grad_vectors_MD.index_add_(0, positive, (grad_R1 * q_RD)[:real].to(self.grad_vectors_MD.dtype))

    def _smooth(self) -> Tensor:
        """Return the loss of label smoothing, -e / I times the sum of all logits, and add its gradients."""
        share = self.task.smoothing / len(self.vectors_MD)
        query_D, vector_D = (x.sum(0, dtype=torch.float32) for x in (self.query_ND, self.vectors_MD))
        total = query_D @ vector_D
        if self.needs_grad:
            self.grad_query_ND -= share * vector_D
            self.grad_vectors_MD -= share * query_D
        return -share * total


def _logits_are_bounded(bits_ND: Tensor, vectors_MD: Tensor) -> bool:
    """Return whether the norms of the vectors bound all logits by `MAX_UNSHIFTED_BITS`, so that no maximum is needed.

    Without the maxima, and with chunks rounded to 32 rows instead of 64, the loss over 200 thousand items took 1.36 instead
    of 1.47 times its three matrix products. Cosine scores need no maxima: at a temperature of 0.07 the largest logit is
    1 / 0.07 = 14.3, or 20.6 bits. In float16, which ends at 2^16, the maximum is always subtracted.
    """
    if math.log2(torch.finfo(bits_ND.dtype).max) < 2 * MAX_UNSHIFTED_BITS:
        return False
    norms = (torch.linalg.vector_norm(x, dim=1, dtype=torch.float32) for x in (bits_ND, vectors_MD))
    max_query, max_vector = (norm.max() if len(norm) else norm.sum() for norm in norms)
    return bool(max_query * max_vector <= MAX_UNSHIFTED_BITS)


def chunk_shape(targets: int, items: int, itemsize: int, device: torch.device) -> tuple[int, int]:
    """Return the rows of a chunk and the items of a block, for logits of `itemsize` bytes.

    The whole catalogue is one block if that leaves enough rows for a chunk, else it is divided into several blocks. Sizes
    are equal and rounded, so that batches of similar size have chunks of the same shape.
    """
    memory = (BLOCK_BYTES if device.type == "cpu" else DEVICE_BYTES) // 4
    most, least = CHUNK_ROWS
    if memory // items >= most:
        return _even(targets, memory // items), items
    most = min(most, max(least, KEPT_BYTES // (itemsize * items)))
    # one more chunk if that leaves fewer padding rows, since each costs as much as a target. Example: 3,650 targets in
    # 4 chunks of 928 compute 3,712 rows, in 5 chunks of 736 only 3,680
    rows = min(
        (_even(targets, most), _even(targets, max(ROUND, most - most // 8))),
        key=lambda rows: math.ceil(targets / rows) * rows,
    )
    return rows, min(items, _even(items, max(ROUND, memory // rows)))


def _even(count: int, most: int) -> int:
    """Return the length of equal parts of at most about `most`, rounded up to a multiple of `ROUND`."""
    parts = max(1, math.ceil(count / most))
    return max(1, math.ceil(count / parts / ROUND)) * ROUND
