"""Targets against shared negatives, a chunk of rows at a time: what all losses with negatives have in common.

Shape letters: N targets, R rows of a chunk, K negatives, P entries of the extra logits, Q those of them that meet a negative,
D width. A chunk makes its gradients in the forward pass, so the N x K logits never exist whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from reprise.models.items import ItemVectors, SparseLogits
from reprise.training.losses import product_type
from reprise.training.negatives import Negatives, Sample

CHUNK_BYTES = 2 * 2**20
"""Memory for one chunk of logits on a processor, about what a core's cache holds."""
DEVICE_BYTES = 256 * 2**20
"""The same on a device, where a product wants to be large."""
ROUND = 64
"""Rows of a chunk are a multiple of this, so that batches of about one size have chunks of one shape."""


class Slopes(NamedTuple):
    """The loss of some targets and its derivatives."""

    loss: Tensor
    """The sum over them."""
    right_R1: Tensor
    """By the logits of the targets."""
    wrong_RK: Tensor
    """By the logits of the negatives; 0 where a negative is the target itself."""


Chunk = Callable[[Tensor, Tensor], Slopes]
"""(logits of the targets [R, 1], of the negatives [R, K]) -> loss and slopes, in float32.

A negative that is the target itself has the logit -inf. The logits may be overwritten."""


class OverNegatives(ABC):
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
        items: ItemVectors,
        target_N: Tensor,
        sample: Sample | None = None,
        extra: SparseLogits | None = None,
    ) -> Tensor:
        """The sum over targets, a scalar in float32; see `Loss`."""
        assert sample is not None, (
            "a loss with negatives needs a sample; the trainer draws what `negatives` says"
        )
        # one look-up for both: a dense table then gets one gradient and not two
        vector_MD = items.scoring_rows(torch.cat([target_N, sample.item_K]))
        places = _Places.find(target_N, sample.item_K, extra)
        value_P = None if extra is None else extra.value_P
        chunk = self.chunk(sample, len(items.weight) - 1)
        how = _How(chunk, product_type(query_ND.device, vector_MD.dtype), places)
        loss: Tensor = _Contrast.apply(query_ND, vector_MD, value_P, how)  # type: ignore[no-untyped-call]
        return loss


def by_autograd(loss: Callable[[Tensor, Tensor], Tensor]) -> Chunk:
    """A chunk whose slopes are found by differentiating `loss(right_R1, wrong_RK)`, a sum."""

    def chunk(right_R1: Tensor, wrong_RK: Tensor) -> Slopes:
        with torch.enable_grad():
            right_R1, wrong_RK = right_R1.detach().requires_grad_(), wrong_RK.detach().requires_grad_()
            total = loss(right_R1, wrong_RK)
            return Slopes(total.detach(), *torch.autograd.grad(total, (right_R1, wrong_RK)))

    return chunk


class _Places(NamedTuple):
    """Where single logits of the N x K are changed, in the order of their rows, and where those of targets are."""

    hit_row: Tensor
    hit_column: Tensor
    """Negatives that are the target of their row."""
    row_Q: Tensor
    column_Q: Tensor
    entry_Q: Tensor
    """Which entry of the extra logits it is."""
    right_row: Tensor
    right_entry: Tensor
    """Entries of the extra logits that belong to the target of their row."""

    @classmethod
    def find(cls, target_N: Tensor, item_K: Tensor, extra: SparseLogits | None) -> "_Places":
        hit_row, hit_column = _meetings(target_N, item_K)
        if extra is None:
            none = hit_row[:0]
            return cls(hit_row, hit_column, none, none, none, none, none)
        entry_Q, column_Q = _meetings(extra.item_P, item_K)
        (right_entry,) = torch.nonzero(extra.item_P == target_N[extra.row_P], as_tuple=True)
        right_row = extra.row_P[right_entry]
        return cls(hit_row, hit_column, extra.row_P[entry_Q], column_Q, entry_Q, right_row, right_entry)


def _meetings(item_X: Tensor, item_K: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of a place in the first list and one in the second (ascending) that hold the same item."""
    first_X = torch.searchsorted(item_K, item_X)
    times_X = torch.searchsorted(item_K, item_X, right=True) - first_X
    place = torch.repeat_interleave(times_X)
    begin_X = first_X - (times_X.cumsum(0) - times_X)
    return place, torch.arange(len(place), device=place.device) + begin_X[place]


class _How(NamedTuple):
    chunk: Chunk
    product: torch.dtype
    places: _Places


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_ND: Tensor, vector_MD: Tensor, value_P: Tensor | None, how: _How) -> Tensor:
        with torch.autocast(query_ND.device.type, enabled=False):
            work = _Work(query_ND, vector_MD, value_P, how)
            loss = work.run()
        ctx.save_for_backward(work.grad_query_ND, work.grad_vector_MD, work.grad_value_P)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if saved is None else saved * grads[0] for saved in ctx.saved_tensors)
        return (*scaled, None)


class _Work:
    """One call: its tensors in the type of the products, and the gradients as they grow."""

    def __init__(self, query_ND: Tensor, vector_MD: Tensor, value_P: Tensor | None, how: _How) -> None:
        self.targets, self.how, self.value_P = len(query_ND), how, value_P
        negatives = len(vector_MD) - self.targets
        self.rows = chunk_rows(self.targets, 4 * negatives, query_ND.device)
        extended = (0, 0, 0, -self.targets % self.rows)
        # whole chunks only: a last one of another length would cost a new kernel each time
        self.query_ND = pad(query_ND.detach().to(how.product), extended)
        self.right_ND = pad(vector_MD[: self.targets].detach().to(how.product), extended)
        self.wrong_KD = vector_MD[self.targets :].detach().to(how.product)
        self.grad_query_ND = torch.empty_like(query_ND)
        self.grad_vector_MD = torch.zeros_like(vector_MD)
        self.grad_value_P = None if value_P is None else torch.zeros_like(value_P)

    def run(self) -> Tensor:
        """The loss; afterwards the gradients are there."""
        starts = range(0, len(self.query_ND), self.rows)
        edge = torch.tensor([*starts, len(self.query_ND)], device=self.query_ND.device)
        rows = self.how.places.hit_row, self.how.places.row_Q, self.how.places.right_row
        bounds = torch.stack([torch.searchsorted(row, edge) for row in rows]).T.tolist()
        loss = self.query_ND.new_zeros((), dtype=torch.float32)
        for start, here, after in zip(starts, bounds, bounds[1:], strict=False):
            hits, added, right = (slice(*pair) for pair in zip(here, after, strict=True))
            loss += self._chunk(slice(start, min(start + self.rows, self.targets)), hits, added, right)
        return loss

    def _chunk(self, real: slice, hits: slice, added: slice, right: slice) -> Tensor:
        places, full = self.how.places, slice(real.start, real.start + self.rows)
        q_RD, v_RD = self.query_ND[full], self.right_ND[full]
        right_R1 = (q_RD.float() * v_RD.float()).sum(1, keepdim=True)
        wrong_RK = (q_RD @ self.wrong_KD.t()).float()
        row_Q, column_Q = places.row_Q[added] - real.start, places.column_Q[added]
        right_row = places.right_row[right] - real.start
        if self.value_P is not None:
            value_Q, value_right = (
                self.value_P[at].float() for at in (places.entry_Q[added], places.right_entry[right])
            )
            wrong_RK.index_put_((row_Q, column_Q), value_Q, accumulate=True)
            right_R1.index_put_((right_row, torch.zeros_like(right_row)), value_right, accumulate=True)
        wrong_RK[places.hit_row[hits] - real.start, places.hit_column[hits]] = -torch.inf
        length = real.stop - real.start
        slopes = self.how.chunk(right_R1[:length], wrong_RK[:length])
        wrong_RK = slopes.wrong_RK
        if length < self.rows:
            wrong_RK = pad(wrong_RK, (0, 0, 0, self.rows - length))
        if self.grad_value_P is not None:
            self.grad_value_P.index_add_(0, places.entry_Q[added], wrong_RK[row_Q, column_Q])
            self.grad_value_P.index_add_(0, places.right_entry[right], slopes.right_R1[right_row, 0])
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
