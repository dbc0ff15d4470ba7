"""Fit the forecast heads of a trained network: next kind and time to the next event.

Shape letters: N targets, D width of the query, F features, H hidden units, O outputs, K kinds, C components.

The heads are fitted after the network, whose weights stay fixed. The ranking therefore does not change, and heads can be added
to a finished run.
"""

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid, silu

from reprise.arrays import Float32Array
from reprise.data.dataset import Part, SequenceDataset
from reprise.errors import DataError
from reprise.evaluation.forecasting.forecast_targets import EventsAhead, events_ahead, queries_before
from reprise.forecast.forecast_heads import LOG_BOUNDS, ForecastHeads, HeadWeights
from reprise.forecast.gap_distribution import MAX_WIDTH, MIN_WIDTH
from reprise.forecast.recent_history import feature_count
from reprise.models.networks.network_scorer import NetworkScorer

HIDDEN = 64
"""H: number of hidden units of a head."""
COMPONENTS = 8
"""C: number of log-normal components."""
MAX_NUMBERS = 1 << 26
"""Maximum number of inputs of all targets of a part together: 256 MiB. If there are more targets, a random sample is taken."""
BATCH = 1024
"""Number of targets per step."""
EPOCHS = 40
"""Maximum number of passes over the training targets."""
PATIENCE = 4
"""Number of passes without a better validation loss after which the fit ends."""
LEARNING_RATE = 3e-3
"""Peak learning rate of AdamW."""
WEIGHT_DECAY = 0.05
"""Decoupled weight decay of AdamW."""
DROPOUT = 0.2
"""Dropout rate of the hidden units."""
QUERY_DROPOUT = 0.5
"""Probability that the query vector of a training target is replaced by zeros. A head then also learns to forecast from the
last events alone, as it must if the network knows few items of a history."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Function of the outputs of a head, [N, O], and the observed kinds or gaps, [N], that returns the loss of each target, [N]."""


class _Examples(NamedTuple):
    """The targets of one part of the dataset, as tensors."""

    input_NI: Tensor
    """Standardised query vectors, followed by the features of the last events, float32."""
    kind_N: Tensor
    """Codes of the kinds, int64."""
    gap_s_N: Tensor
    """Seconds since the event before, float32."""


class HeadFit(NamedTuple):
    """A fitted head with its validation loss."""

    weights: HeadWeights
    loss: float
    """Mean validation loss in nats per event."""


def fit_forecast(model: NetworkScorer, dataset: SequenceDataset, *, seed: int = 1) -> ForecastHeads:
    """Fit the forecast heads of a network on the training part.

    The validation part decides when the fit ends, whether a head reads the query vector, and the temperature of the kinds.

    Args:
        model: A trained network. Its weights do not change.
        dataset: The dataset that the network was trained on.
        seed: Seed of the sample of targets, the initial weights and the order of the targets.

    Raises:
        DataError: The log has one kind and no two different times, or a part has no target.
    """
    kinds = len(dataset.kinds)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fitting = _HeadFitting(model, dataset, seed)
        kind = fitting.kind() if kinds > 1 else None
        gap = fitting.gap() if fitting.has_times else None
    if kind is None and gap is None:
        raise DataError(
            "the log has one kind of event and all events of a sequence have the same time, so there is nothing to forecast; "
            "prepare it with a column of kinds (--kind-column) or of times"
        )
    return ForecastHeads(kinds, None if kind is None else kind.weights, None if gap is None else gap.weights)


class _HeadFitting:
    """The examples of the training and validation parts, and the fit of a head to them."""

    def __init__(self, model: NetworkScorer, dataset: SequenceDataset, seed: int) -> None:
        self.kinds = len(dataset.kinds)
        self.width = model.query_width
        limit = max(1, MAX_NUMBERS // (self.width + feature_count(self.kinds)))
        found = {part: self._targets(model, dataset, part, limit, seed) for part in ("train", "valid")}
        (query_ND, train), (valid_query_ND, valid) = found["train"], found["valid"]
        self.center = query_ND.mean(axis=0)
        # a constant column, such as a bias, has no spread
        self.scale = np.maximum(query_ND.std(axis=0), 1e-6).astype(np.float32)
        self.train = self._examples(query_ND, train)
        self.valid = self._examples(valid_query_ND, valid)
        self.has_times = bool((self.train.gap_s_N > 0).any())

    @staticmethod
    def _targets(
        model: NetworkScorer, dataset: SequenceDataset, part: Part, limit: int, seed: int
    ) -> tuple[Float32Array, EventsAhead]:
        ahead = events_ahead(dataset, part, limit, seed)
        return queries_before(model, dataset, ahead, part), ahead

    def _examples(self, query_ND: Float32Array, ahead: EventsAhead) -> _Examples:
        input_NI = np.concatenate(
            [(query_ND - self.center) / self.scale, ahead.history.features(self.kinds)], axis=1
        )
        columns = input_NI, ahead.kind_N, ahead.gap_s_N.astype(np.float32)
        return _Examples(*map(torch.from_numpy, columns))

    def kind(self) -> HeadFit:
        """Fit the head of the next kind, with and without the query vector, and return the better one.

        The logits are divided by the temperature with the lowest log loss on the validation part.
        """
        start_K = (torch.bincount(self.train.kind_N, minlength=self.kinds) + 1.0).log()
        return min(
            (self._kind(start_K - start_K.logsumexp(0), width) for width in (self.width, 0)),
            key=attrgetter("loss"),
        )

    def _kind(self, start_K: Tensor, width: int) -> HeadFit:
        head = _Head(width, self.train.input_NI.shape[1] - self.width, start_K)
        self._fit(head, self.train.kind_N, self.valid.kind_N, _kind_loss)
        with torch.no_grad():
            logit_NK = head(self._inputs(self.valid, head))
            temperature = best_temperature(logit_NK, self.valid.kind_N)
            for tensor in (head.output.weight, head.direct.weight, head.direct.bias):
                tensor.div_(temperature)
            loss = float(cross_entropy(logit_NK / temperature, self.valid.kind_N))
        return HeadFit(self._weights(head), loss)

    def gap(self) -> HeadFit:
        """Fit the head of the time to the next event, with and without the query vector, and return the better one."""
        start_O = _initial_gap_output(self.train.gap_s_N)
        return min((self._gap(start_O, width) for width in (self.width, 0)), key=attrgetter("loss"))

    def _gap(self, start_O: Tensor, width: int) -> HeadFit:
        head = _Head(width, self.train.input_NI.shape[1] - self.width, start_O)
        self._fit(head, self.train.gap_s_N, self.valid.gap_s_N, gap_loss)
        with torch.no_grad():
            loss = float(gap_loss(head(self._inputs(self.valid, head)), self.valid.gap_s_N).mean())
        return HeadFit(self._weights(head), loss)

    def _inputs(self, examples: _Examples, head: "_Head") -> Tensor:
        """Return the inputs of the examples, without the query vector if the head does not read it."""
        return examples.input_NI[:, self.width - head.width :]

    def _fit(self, head: "_Head", target_N: Tensor, valid_N: Tensor, loss: Loss) -> None:
        """Train a head, and give it the weights of the pass with the lowest validation loss."""
        train_NI, valid_NI = self._inputs(self.train, head), self._inputs(self.valid, head)
        optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        best, best_epoch, kept = math.inf, 0, head.copied()
        for epoch in range(1, EPOCHS + 1):
            head.train()
            for index_N in torch.split(torch.randperm(len(target_N)), BATCH):
                optimizer.zero_grad()
                mean = loss(head(train_NI[index_N]), target_N[index_N]).mean()
                mean.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(head.parameters(), 1.0)
                optimizer.step()
            head.eval()
            with torch.no_grad():
                found = float(loss(head(valid_NI), valid_N).mean())
            if found < best:
                best, best_epoch, kept = found, epoch, head.copied()
            elif epoch - best_epoch >= PATIENCE:
                break
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 - epoch / EPOCHS)
        head.load_state_dict(kept)

    def _weights(self, head: "_Head") -> HeadWeights:
        arrays = (
            head.hidden.weight, head.hidden.bias, head.output.weight, head.direct.weight, head.direct.bias,
        )  # fmt: skip
        return HeadWeights(
            self.center[: head.width],
            self.scale[: head.width],
            *(array.detach().numpy().copy() for array in arrays),
        )


class _Head(nn.Module):
    """The network of `HeadWeights` for training. `width` is the width of the query vector; 0 if the head does not read it."""

    def __init__(self, width: int, features: int, start_O: Tensor) -> None:
        super().__init__()
        self.width = width
        inputs = width + features
        self.hidden = nn.Linear(inputs, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Linear(HIDDEN, len(start_O), bias=False)
        self.direct = nn.Linear(inputs, len(start_O))
        with torch.no_grad():
            for weight in (self.output.weight, self.direct.weight):
                weight.zero_()
            self.direct.bias.copy_(start_O)

    def forward(self, input_NI: Tensor) -> Tensor:
        if self.training and self.width:
            kept_N1 = (torch.rand(len(input_NI), 1) >= QUERY_DROPOUT).float()
            input_NI = torch.cat([input_NI[:, : self.width] * kept_N1, input_NI[:, self.width :]], dim=1)
        hidden_NH = self.dropout(silu(self.hidden(input_NI)))
        out: Tensor = self.output(hidden_NH) + self.direct(input_NI)
        return out

    def copied(self) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in self.state_dict().items()}


def _kind_loss(logit_NK: Tensor, kind_N: Tensor) -> Tensor:
    return cross_entropy(logit_NK, kind_N, reduction="none")


def gap_loss(output_NO: Tensor, gap_s_N: Tensor) -> Tensor:
    """Return the negative log-likelihood of each gap in nats, [N]: `GapDistribution.log_likelihood`, in torch."""
    weight_NC, mean_NC, width_NC = output_NO[:, 1:].chunk(3, dim=1)
    width_NC = MIN_WIDTH + (MAX_WIDTH - MIN_WIDTH) * torch.sigmoid(width_NC)
    positive_N = gap_s_N > 0
    log_x_N = torch.where(positive_N, gap_s_N, 1.0).log()
    score_NC = (log_x_N[:, None] - mean_NC.clamp(*LOG_BOUNDS)) / width_NC
    log_NC = log_softmax(weight_NC, dim=1) - 0.5 * score_NC**2 - width_NC.log()
    density_N = log_NC.logsumexp(dim=1) - 0.5 * math.log(2 * math.pi) - log_x_N
    # P(x = 0) is a sigmoid of the first output
    return -torch.where(positive_N, logsigmoid(-output_NO[:, 0]) + density_N, logsigmoid(output_NO[:, 0]))


def _initial_gap_output(gap_s_N: Tensor) -> Tensor:
    """Return the initial bias of the outputs of a gap head, [O].

    It sets P(x = 0) to the share of the gaps of 0, and the means of the components to quantiles of the logarithms of the longer
    gaps.
    """
    log_M = gap_s_N[gap_s_N > 0].log()
    share = (float((gap_s_N == 0).sum()) + 1) / (len(gap_s_N) + 2)
    # torch limits the number of inputs of `quantile`, so it gets a sample
    mean_C = log_M[:: max(1, len(log_M) // 100_000)].quantile((torch.arange(COMPONENTS) + 0.5) / COMPONENTS)
    width = min(max(float(log_M.std()) / 2 if len(log_M) > 1 else 1.0, 2 * MIN_WIDTH), MAX_WIDTH / 2)
    share_of_range = (width - MIN_WIDTH) / (MAX_WIDTH - MIN_WIDTH)
    logit = math.log(share_of_range / (1 - share_of_range))
    return torch.cat(
        [
            torch.tensor([math.log(share / (1 - share))]),
            torch.zeros(COMPONENTS),
            mean_C,
            torch.full((COMPONENTS,), logit),
        ]
    )


def best_temperature(logit_NK: Tensor, kind_N: Tensor) -> float:
    """Return the temperature from 1/8 to 8 that minimises the log loss (temperature scaling; Guo et al. 2017, section 4.2)."""
    log_low, log_high = -math.log(8), math.log(8)
    golden = (math.sqrt(5) - 1) / 2

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logit_NK / math.exp(log_temperature), kind_N))

    # the loss is unimodal in the temperature: it is convex in its inverse
    for _ in range(30):
        left, right = log_high - golden * (log_high - log_low), log_low + golden * (log_high - log_low)
        if loss(left) < loss(right):
            log_high = right
        else:
            log_low = left
    return math.exp((log_low + log_high) / 2)
