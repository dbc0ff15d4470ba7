"""Fitting the parameters of the corrections of the logits on events that were not counted.

Shape letters: N calibration examples, C examples of a step, W events before an example (the window, newest last), I items,
P pairs of an example and an item that is not a candidate.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from reprise.arrays import AnyArray
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.recent_events import RecentEvents
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.corrections.score_corrections import score_corrections
from reprise.models.counts.counting import csr_entries

MAX_EXAMPLES = 8192
"""Largest number of calibration examples; about sixty parameters are fitted, and more examples would not help."""
SEARCH_STEPS = 160
"""Number of Adam steps."""
MEASURED_STEPS = 8
"""Largest number of steps' examples on which the loss before and after the fit is measured: 2,048 in a small catalogue."""
EXAMPLES_PER_STEP = 256, 16
"""Maximum number of calibration examples per step, and the minimum when `LOGITS_PER_STEP` would allow fewer."""
LOGITS_PER_STEP = 1 << 24
"""Maximum number of logits of a step, examples times items: 64 MiB in float32, of which a step needs several copies."""
GCE_Q = 0.4
"""Default q of the generalised cross-entropy (1 - p^q) / q (Zhang and Sabuncu 2018, section 3.2).

p is the probability of the target. q = 0 is log loss, in which the targets far down the list dominate, while a list
shows only its top. Where sequences repeat exactly, log loss made the sum worse than the counts alone (Nowplaying, mrr
0.118 against 0.149) and q = 0.5 made it better (0.153); 0.4 was chosen on the validation parts of eight logs.
"""
LEARNING_RATE = 0.1
"""Initial learning rate of Adam; it decreases linearly to 0."""
INITIAL_GAIN = 0.5
"""Initial gain of the co-occurrence counts; it is the result if there are no calibration examples."""
INITIAL_COSINE_GAIN = 0.1
"""Initial gain of the similarities over sessions."""

BaseLogits = Callable[[Tensor], Tensor]
"""Function from example indices [C] to the logits that are corrected, [C, I]."""


class CalibrationExamples(NamedTuple):
    """Events with a known target and history, in the order of the dataset."""

    position_N: AnyArray
    """Position of the target event in the dataset, int64."""
    recent: RecentEvents
    """The last W scored events before each target."""
    target_N: Tensor
    """Item index of the target, 1..I, int64."""
    start: Tensor
    """Row offsets, int64 [N + 1]: the items excluded for example n are at `start[n]`..`start[n + 1]` of `hidden_P`."""
    hidden_P: Tensor
    """Indices of the excluded items, int64."""


class Fit(NamedTuple):
    """The result of a fit."""

    examples: int
    """Number of calibration examples."""
    loss_before: float
    """Mean loss of the base logits alone, on the examples of `MEASURED_STEPS` steps."""
    loss_after: float
    """Mean loss of the corrected logits, on the same examples."""


def find_calibration_examples(
    dataset: SequenceDataset,
    part: Part,
    window: int,
    *,
    exclude_seen: bool = False,
    limit: int = MAX_EXAMPLES,
) -> CalibrationExamples:
    """Return the events of a part that have a scored item and a predecessor, or a uniform sample of `limit` of them.

    Args:
        dataset: The events.
        part: The part whose events are targets.
        window: W, the number of events kept before each target.
        exclude_seen: Whether items seen earlier in the sequence are not candidates. Then a target that repeats one is
            left out.
        limit: Largest number of examples.
    """
    first_U, last_U = dataset.part(part)
    start_U, scored = np.asarray(dataset.offset[:-1]), dataset.items.scored
    first_U = np.maximum(first_U, start_U + 1)
    length_U = np.maximum(last_U - first_U, 0)
    row_N = np.repeat(np.arange(len(dataset)), length_U)
    position_N = np.arange(len(row_N)) + np.repeat(first_U - (length_U.cumsum() - length_U), length_U)
    scored_N = np.flatnonzero(dataset.item[position_N] <= scored)
    # draw twice as many as needed: with `exclude_seen`, repeated targets are rejected below
    drawn = np.random.default_rng(0).permutation(scored_N)[: 2 * limit]
    found: dict[int, AnyArray] = {}
    for index in drawn:
        if len(found) == limit:
            break
        target = int(position_N[index])
        before = np.asarray(dataset.item[start_U[row_N[index]] : target], dtype=np.int64)
        if exclude_seen and dataset.item[target] in before:
            continue
        position_P = int(start_U[row_N[index]]) + np.flatnonzero(before <= scored)
        # the whole history is needed only to exclude its items; a copy of the window frees the rest
        found[target] = position_P if exclude_seen else position_P[-window:].copy()
    return _as_examples(dataset, found, window, exclude_seen)


def _as_examples(
    dataset: SequenceDataset, found: dict[int, AnyArray], window: int, exclude_seen: bool
) -> CalibrationExamples:
    """Turn target positions and the positions of the scored events before each into arrays, in the order of the dataset."""
    position_N = np.array(sorted(found), dtype=np.int64)
    item_NW = np.full((len(found), window), PAD, dtype=np.int64)
    time_s_NW = np.full((len(found), window), np.nan)
    kind_NW = np.zeros((len(found), window), dtype=np.int64)
    for row, position in enumerate(position_N):
        last = found[position][-window:]
        if len(last):
            item_NW[row, -len(last) :] = dataset.item[last]
            time_s_NW[row, -len(last) :] = dataset.time_ms[last] / 1000
            kind_NW[row, -len(last) :] = dataset.kind[last]
    recent = RecentEvents(*map(torch.from_numpy, (item_NW, time_s_NW, kind_NW)))
    hidden = [dataset.item[found[position]].astype(np.int64) for position in position_N if exclude_seen]
    start = np.cumsum([0, *map(len, hidden)] if exclude_seen else np.zeros(len(found) + 1, dtype=np.int64))
    hidden_P = np.concatenate([item_NW[:0, 0], *hidden])
    target_N = torch.from_numpy(dataset.item[position_N].astype(np.int64))
    return CalibrationExamples(
        position_N, recent, target_N, torch.from_numpy(start), torch.from_numpy(hidden_P)
    )


def fit_corrections(
    cooccurrence: CooccurrenceCorrection | None,
    repeat_head: RepeatHead | None,
    examples: CalibrationExamples,
    base: BaseLogits,
    gce_q: float = GCE_Q,
    steps: int = SEARCH_STEPS,
) -> Fit:
    """Fit the parameters of one or both corrections together, by maximum a posteriori with Adam.

    The loss is the generalised cross-entropy of the examples (see `GCE_Q`); with `gce_q` 0, log loss. Each parameter has
    a normal prior of variance 1 around its initial value, so a few examples change little.

    Args:
        cooccurrence: Correction that has counted; None: not used.
        repeat_head: Repeat head, which is enabled if there are examples; None: not used.
        examples: Targets with their histories.
        base: Logits that are corrected.
        gce_q: q of the loss.
        steps: Number of steps.
    """
    if cooccurrence is not None:
        with torch.no_grad():
            cooccurrence.gain.fill_(INITIAL_GAIN)
            cooccurrence.cosine_gain.fill_(INITIAL_COSINE_GAIN if cooccurrence.uses_similarity else 0.0)
    if not len(examples.target_N):
        return Fit(0, 0.0, 0.0)
    return _Fitting(cooccurrence, repeat_head, examples, base, gce_q).run(steps)


class _Fitting:
    """One fit: the corrections, their examples, and the scale of the base logits.

    The base logits of a network may be too sharp or too flat for the loss. The fit may scale them by exp(log_scale), but the
    network must not change. Only the ratio of both terms matters for a ranking, so the gains are divided by the scale at
    the end: with scale 0.5 and gain 0.3, ranking by 0.5 x + 0.3 y is ranking by x + 0.6 y. The repeat head keeps the
    scale, because its mixture depends on it.
    """

    def __init__(
        self,
        cooccurrence: CooccurrenceCorrection | None,
        repeat_head: RepeatHead | None,
        examples: CalibrationExamples,
        base: BaseLogits,
        gce_q: float,
    ) -> None:
        self.cooccurrence, self.repeat_head = cooccurrence, repeat_head
        self.examples, self.base, self.gce_q = examples, base, gce_q
        items = base(torch.arange(1)).shape[1]
        largest, smallest = EXAMPLES_PER_STEP
        self.per_step = min(largest, max(smallest, LOGITS_PER_STEP // items))
        corrections = [one for one in (cooccurrence, repeat_head) if one is not None]
        device = next(corrections[0].parameters()).device
        self.log_scale = nn.Parameter(torch.zeros((), device=device))
        found = [parameter for one in corrections for parameter in one.parameters()]
        self.parameters = [self.log_scale, *(parameter for parameter in found if parameter.requires_grad)]
        if repeat_head is not None:
            repeat_head.enabled.fill_(1.0)
            repeat_head.scale.fill_(1.0)

    def run(self, steps: int) -> Fit:
        """Fit, and return the losses."""
        examples = len(self.examples.target_N)
        initial = [parameter.detach().clone() for parameter in self.parameters]
        adam = torch.optim.Adam(self.parameters, lr=LEARNING_RATE)
        for step, index_C in enumerate(_batches(examples, steps, self.per_step)):
            adam.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
            loss = self._loss(self._corrected(index_C), index_C)
            # the prior counts once for all examples, and the loss is a mean over them
            for parameter, start in zip(self.parameters, initial, strict=True):
                loss = loss + (parameter - start).square().sum() / (2 * examples)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        with torch.no_grad():
            fit = self._evaluate()
            if self.cooccurrence is not None:
                self.cooccurrence.gain.div_(self.log_scale.exp())
                self.cooccurrence.cosine_gain.div_(self.log_scale.exp())
            if self.repeat_head is not None:
                self.repeat_head.scale.copy_(self.log_scale.exp())
        return fit

    def _evaluate(self) -> Fit:
        """Measure the mean loss with the corrections and without them."""
        before = after = 0.0
        order_N = np.random.default_rng(2).permutation(len(self.examples.target_N))[
            : MEASURED_STEPS * self.per_step
        ]
        for index_C in torch.split(torch.from_numpy(order_N), self.per_step):
            before += float(self._loss(self.base(index_C).clone(), index_C)) * len(index_C)
            after += float(self._loss(self._corrected(index_C), index_C)) * len(index_C)
        return Fit(len(self.examples.target_N), before / len(order_N), after / len(order_N))

    def _corrected(self, index_C: Tensor) -> Tensor:
        """Return the scaled and corrected logits of some examples, [C, I]."""
        logits_CI = self.base(index_C) * self.log_scale.exp()
        recent = self.examples.recent.take(index_C).to(logits_CI.device)
        return score_corrections(recent, self.cooccurrence, self.repeat_head).apply(logits_CI)

    def _loss(self, logits_CI: Tensor, index_C: Tensor) -> Tensor:
        """Return the mean loss of the examples `index_C`, whose logits `logits_CI` are changed."""
        device = logits_CI.device
        row_P, hidden_P = csr_entries(self.examples.start, index_C)
        if len(row_P):
            hidden = row_P.to(device), self.examples.hidden_P[hidden_P].to(device) - 1
            logits_CI.index_put_(hidden, logits_CI.new_tensor(-torch.inf))
        column_C = self.examples.target_N[index_C].to(device) - 1
        log_p_C = -nn.functional.cross_entropy(logits_CI, column_C, reduction="none")
        # (1 - p^q) / q = -expm1(q log p) / q, which stays accurate when p is near 1. A lost target with p = 1e-6 costs 13.8
        # in log loss and 2.49 with q = 0.4, whose maximum is 2.5; one with p = 0.5 costs 0.69 and 0.61.
        return (-torch.expm1(self.gce_q * log_p_C) / self.gce_q if self.gce_q else -log_p_C).mean()


def _batches(examples: int, steps: int, per_step: int) -> list[Tensor]:
    """Return the example indices of each step: random permutations of all examples, one after the other."""
    generator = np.random.default_rng(1)
    needed = steps * min(per_step, examples)
    epochs = [generator.permutation(examples) for _ in range(-(-needed // examples))]
    return list(torch.from_numpy(np.concatenate(epochs)[:needed]).chunk(steps))
