"""AdamW for an item table of which a step reads a few rows, at a cost that does not grow with the catalogue.

Shape letters: I items, R rows that a step reads, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.loss import Loss
from reprise.training.losses.sampled_losses import SampledSoftmax, Softmax
from reprise.training.losses.shared_negatives import SampledLoss

EPSILON = 1e-8
"""Lower bound of the root of the squared gradients, as in torch's AdamW."""
SETTLED_ROWS = 1 << 16
"""Number of rows that `settle` updates together, so that its temporary memory does not grow with the catalogue."""
SPARSE_RATIO = 32
"""Number of items for each row that a step reads, from which `decide_sparse` chooses updates of rows."""
COMPACT_ITEMS = 500_000
"""Number of items from which the state is compact by default."""


class RowAdam:
    """AdamW that postpones the steps in which a row has no gradient until the row is read again.

    AdamW moves a row also without a gradient: its running averages and its weight decay, and it follows the average of its
    gradients. k such steps in succession have a closed form with the learning rate and the bias corrections of the last
    step, so the result differs from AdamW only by their change within the k steps. Lazy Adam, which leaves these steps
    out, moves a rare item several times less.

    The state takes 8 bytes per weight, two moments. A compact state takes 4 bytes per item: beta_1 is 0, so there is no first
    moment, and the second moment is that of the mean of the squared gradients of the row, as in the row-wise optimisers of
    Mudigere et al. 2022, "Software-hardware co-design for fast and scalable training of deep learning recommendation models".

    Args:
        table: The table, whose updates are those of rows.
        betas: Decay rates of the running averages of the gradients and of their squares.
        weight_decay: Decoupled weight decay.
        compact: Whether the state is compact.
    """

    def __init__(
        self, table: ItemEmbeddings, betas: tuple[float, float], weight_decay: float, *, compact: bool = False
    ) -> None:
        self.table, self.betas, self.weight_decay = table, betas, weight_decay
        weight = table.weight.detach()
        self.slots = {
            "step": torch.zeros((), device=weight.device),
            "exp_avg_sq": torch.zeros_like(weight[:, :1] if compact else weight),
            # number of steps that each row has had
            "row_step": torch.zeros(len(weight), device=weight.device),
            "learning_rate": torch.zeros((), dtype=torch.float64),
        }
        if not compact:
            self.slots["exp_avg"] = torch.zeros_like(weight)
        self.read_rows: tuple[Tensor, Tensor, dict[str, Tensor]] | None = None

    def read(self, items: Sequence[Tensor]) -> None:
        """Make all postponed steps of the rows of these items, and let the table look them up.

        Nothing is written before `step`.
        """
        padding = torch.tensor([PAD], device=self.table.weight.device)
        row_R = torch.cat([padding, *(item.flatten() for item in items)]).unique()  # type: ignore[no-untyped-call]
        weight_RD, moments = self._up_to_date(row_R)
        self.read_rows = row_R, weight_RD.requires_grad_(), moments
        self.table.use_rows(row_R, weight_RD)

    @property
    def vector_RD(self) -> Tensor:
        """Vectors of the rows that were read, which have the gradient of a step."""
        assert self.read_rows is not None
        return self.read_rows[1]

    @property
    def grad_RD(self) -> Tensor | None:
        """Gradient of the rows that were read."""
        return None if self.read_rows is None else self.read_rows[1].grad

    @property
    def is_compact(self) -> bool:
        """Whether the state is compact."""
        return "exp_avg" not in self.slots

    def restore(self, slot: str, value: Tensor) -> None:
        """Set one entry of the state. A run that began with two moments of each weight goes on with them."""
        own = self.slots.get(slot)
        if own is not None and own.shape == value.shape:
            own.copy_(value)
        else:
            self.slots[slot] = value.to(self.table.weight.device, copy=True)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update the rows that were read.

        Raises:
            ConfigError: The loss has read the table otherwise.
        """
        if self.table.weight.grad is not None:
            raise ConfigError(
                "the loss or the objective reads vectors of items that are neither in the batch nor among its negatives; "
                "set model.sparse to false"
            )
        grad_RD = self.grad_RD
        assert self.read_rows is not None and grad_RD is not None
        row_R, weight_RD, moments = self.read_rows
        if self.is_compact:
            self._step_by_rows(weight_RD, grad_RD, moments["exp_avg_sq"], learning_rate)
        else:
            adamw(
                [weight_RD], [grad_RD], [moments["exp_avg"]], [moments["exp_avg_sq"]], [], [self.slots["step"]],
                fused=True, amsgrad=False, beta1=self.betas[0], beta2=self.betas[1], lr=learning_rate,
                weight_decay=self.weight_decay, eps=EPSILON, maximize=False,
            )  # fmt: skip
        self.slots["learning_rate"].fill_(learning_rate)
        self._write(row_R, weight_RD, moments)
        self.read_rows = None

    def _step_by_rows(
        self, weight_RD: Tensor, grad_RD: Tensor, square_R1: Tensor, learning_rate: float
    ) -> None:
        """Make a step of AdamW with beta_1 = 0, in which all weights of a row share the second moment."""
        step, beta_2 = self.slots["step"].add_(1), self.betas[1]
        square_R1.lerp_(grad_RD.square().mean(1, keepdim=True), 1 - beta_2)
        root_R1 = (square_R1 / (1 - beta_2**step)).sqrt_().add_(EPSILON)
        weight_RD.mul_(1 - learning_rate * self.weight_decay)
        weight_RD.addcmul_(grad_RD, learning_rate / root_R1, value=-1)

    @torch.no_grad()
    def settle(self) -> None:
        """Make the postponed steps of all rows, so that the table can be evaluated and saved."""
        row_step_I = self.slots["row_step"]
        for first in range(0, len(row_step_I), SETTLED_ROWS):
            is_late_R = row_step_I[first : first + SETTLED_ROWS] < self.slots["step"]
            row_R = is_late_R.nonzero().squeeze(1) + first
            self._write(row_R, *self._up_to_date(row_R))

    @torch.no_grad()
    def _up_to_date(self, row_R: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the vectors and the moments of rows after their postponed steps.

        In step i of k, the moments m and v of a row without a gradient are beta_1^i m and beta_2^i v, so the row moves by
        lr c r^i m / sqrt(v), with r = beta_1 / sqrt(beta_2) and c the bias corrections. The r^i sum to r (1 - r^k) / (1 - r).
        Without a first moment the row only decays.
        """
        step, rate = self.slots["step"], float(self.slots["learning_rate"])
        betas = dict(zip(("exp_avg", "exp_avg_sq"), self.betas, strict=True))
        weight_RD = self.table.weight.index_select(0, row_R)
        moments = {name: self.slots[name].index_select(0, row_R) for name in betas if name in self.slots}
        missed_R1 = (step - self.slots["row_step"].index_select(0, row_R)).unsqueeze(1)
        if not rate:  # before the first step
            return weight_RD, moments
        if not self.is_compact:
            beta_1, beta_2 = self.betas
            root_2 = (1 - beta_2**step).sqrt()
            ratio = beta_1 / beta_2**0.5
            move_R1 = rate * root_2 / (1 - beta_1**step) * ratio * (1 - ratio**missed_R1) / (1 - ratio)
            root_RD = moments["exp_avg_sq"].sqrt().add_(EPSILON * root_2)
            # the row moves mostly in the first postponed steps, so its movement decays too
            weight_RD.sub_((moments["exp_avg"] * move_R1).div_(root_RD))
        weight_RD.mul_((1 - rate * self.weight_decay) ** missed_R1)
        for name, moment in moments.items():
            moment.mul_(betas[name] ** missed_R1)
        return weight_RD, moments

    def _write(self, row_R: Tensor, weight_RD: Tensor, moments: dict[str, Tensor]) -> None:
        _put_rows(self.table.weight, row_R, weight_RD)
        for name, moment in moments.items():
            _put_rows(self.slots[name], row_R, moment)
        self.slots["row_step"].index_fill_(0, row_R, float(self.slots["step"]))


def _put_rows(table: Tensor, row_R: Tensor, value_RD: Tensor) -> None:
    if table.device.type == "cpu":
        # NumPy takes a quarter of the time of `index_copy_`, which copies each row by itself
        table.detach().numpy()[row_R.numpy()] = value_RD.detach().numpy()
    else:
        table.index_copy_(0, row_R, value_RD)


def decide_sparse(table: ItemEmbeddings, loss: Loss, events: int) -> None:
    """Decide `sparse` of a table that has none: whether updates of rows are faster than of the whole table.

    A step reads at most `events` items of its batch and the negatives. The measurements are in docs/experiments.md.

    Raises:
        ConfigError: The table is sparse, but the loss is over all items.
    """
    if table.sparse and loss.negatives is None:
        raise ConfigError(
            f"a sparse item table needs a loss with negatives, such as SampledSoftmax(); {loss!r} has a gradient for "
            "every item"
        )
    if table.sparse is None:
        items = table.candidates
        # another loss with negatives may read the whole table too
        is_sampled = isinstance(loss, SampledLoss | SampledSoftmax) or (
            isinstance(loss, Softmax) and items > loss.max_full_items
        )
        table.sparse = (
            is_sampled
            and loss.negatives is not None
            and items > SPARSE_RATIO * (events + loss.negatives.count)
        )
