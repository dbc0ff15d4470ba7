"""Fitting the parameters of a co-occurrence correction on events that were not counted.

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
from reprise.models.cooccurrence.correction import CooccurrenceCorrection
from reprise.models.cooccurrence.counting import csr_entries

MAX_EXAMPLES = 8192
"""Largest number of calibration examples; about thirty parameters are fitted, and more examples would not help."""
SEARCH_STEPS = 160
"""Number of Adam steps."""
EXAMPLES_PER_STEP = 256
"""Number of calibration examples per step."""
GCE_Q = 0.4
"""Default q of the generalised cross-entropy (1 - p^q) / q (Zhang and Sabuncu 2018, section 3.2).

p is the probability of the target. q = 0 is log loss, in which the targets far down the list dominate, while a list
shows only its top. Where sequences repeat exactly, log loss made the sum worse than the counts alone (Nowplaying, mrr
0.118 against 0.149) and q = 0.5 made it better (0.153); 0.4 was chosen on the validation parts of eight logs.
"""
LEARNING_RATE = 0.1
"""Initial learning rate of Adam; it decreases linearly to 0."""
INITIAL_GAIN = 0.5
"""Initial gain of the fit; it is the result if there are no calibration examples."""

BaseLogits = Callable[[Tensor], Tensor]
"""Function from example indices [C] to the logits that are corrected, [C, I]."""


class CalibrationExamples(NamedTuple):
    """Events with a known target and history, in the order of the dataset."""

    position_N: AnyArray
    """Position of the target event in the dataset, int64."""
    recent_NW: Tensor
    """The last warm items before the target, int64; `PAD` if there are fewer than W."""
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
    """Mean loss of the base logits alone."""
    loss_after: float
    """Mean loss of the corrected logits."""


def find_calibration_examples(
    dataset: SequenceDataset,
    part: Part,
    window: int,
    *,
    exclude_seen: bool = False,
    limit: int = MAX_EXAMPLES,
) -> CalibrationExamples:
    """Return the events of a part that have a warm item and a predecessor, or a uniform sample of `limit` of them.

    Args:
        dataset: The events.
        part: The part whose events are targets.
        window: W, the number of items kept before each target.
        exclude_seen: Whether items seen earlier in the sequence are not candidates. Then a target that repeats one is
            left out.
        limit: Largest number of examples.
    """
    first_U, last_U = dataset.part(part)
    start_U, warm = np.asarray(dataset.offset[:-1]), dataset.items.warm
    first_U = np.maximum(first_U, start_U + 1)
    length_U = np.maximum(last_U - first_U, 0)
    row_N = np.repeat(np.arange(len(dataset)), length_U)
    position_N = np.arange(len(row_N)) + np.repeat(first_U - (length_U.cumsum() - length_U), length_U)
    warm_N = np.flatnonzero(dataset.item[position_N] <= warm)
    # draw twice as many as needed: with `exclude_seen`, repeated targets are rejected below
    drawn = np.random.default_rng(0).permutation(warm_N)[: 2 * limit]
    found: dict[int, AnyArray] = {}
    for index in drawn:
        if len(found) == limit:
            break
        before = np.asarray(dataset.item[start_U[row_N[index]] : position_N[index]], dtype=np.int64)
        if exclude_seen and dataset.item[position_N[index]] in before:
            continue
        before = before[before <= warm]
        # the whole history is needed only to exclude its items; a copy of the window frees the rest
        found[int(position_N[index])] = before if exclude_seen else before[-window:].copy()
    return _as_examples(dataset, found, window, exclude_seen)


def _as_examples(
    dataset: SequenceDataset, found: dict[int, AnyArray], window: int, exclude_seen: bool
) -> CalibrationExamples:
    """Turn target positions and the warm items before each into arrays, in the order of the dataset."""
    position_N = np.array(sorted(found), dtype=np.int64)
    recent_NW = np.full((len(found), window), PAD, dtype=np.int64)
    for row, position in enumerate(position_N):
        last = found[position][-window:]
        recent_NW[row, window - len(last) :] = last
    hidden = [found[position] for position in position_N] if exclude_seen else [recent_NW[:0, 0]] * len(found)
    start = np.cumsum([0, *map(len, hidden)])
    hidden_P = np.concatenate([recent_NW[:0, 0], *hidden])
    target_N = dataset.item[position_N].astype(np.int64)
    return CalibrationExamples(position_N, *map(torch.from_numpy, (recent_NW, target_N, start, hidden_P)))


def fit_correction(
    correction: CooccurrenceCorrection,
    examples: CalibrationExamples,
    base: BaseLogits,
    gce_q: float = GCE_Q,
) -> Fit:
    """Fit the parameters of a correction that has counted, by maximum a posteriori with Adam.

    The loss is the generalised cross-entropy of the examples (see `GCE_Q`); with `gce_q` 0, log loss. Each parameter has
    a normal prior of variance 1 around its initial value, so a few examples change little.
    """
    with torch.no_grad():
        correction.gain.fill_(INITIAL_GAIN)
    if not len(examples.target_N):
        return Fit(0, 0.0, 0.0)
    # The base logits of a network may be too sharp or too flat for the loss. The fit may scale them by exp(scale), but
    # the network must not change. Only the ratio of both terms matters for a ranking, so the gain is divided by the
    # scale at the end: with scale 0.5 and gain 0.3, ranking by 0.5 x + 0.3 y is ranking by x + 0.6 y.
    scale = nn.Parameter(torch.zeros(1, device=correction.gain.device))
    parameters = [scale, *correction.parameters()]
    initial = [parameter.detach().clone() for parameter in parameters]
    adam = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    for step, index_C in enumerate(_batches(len(examples.target_N))):
        adam.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / SEARCH_STEPS)
        loss = _loss(correction, examples, base(index_C) * scale.exp(), index_C, gce_q)
        # the prior counts once for all examples, and the loss is a mean over them
        for parameter, start in zip(parameters, initial, strict=True):
            loss = loss + (parameter - start).square().sum() / (2 * len(examples.target_N))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    fit = _evaluate(correction, examples, base, scale, gce_q)
    with torch.no_grad():
        correction.gain.div_(scale.exp())
    return fit


def _batches(examples: int) -> list[Tensor]:
    """Return the example indices of each step: random permutations of all examples, one after the other."""
    generator = np.random.default_rng(1)
    needed = SEARCH_STEPS * min(EXAMPLES_PER_STEP, examples)
    epochs = [generator.permutation(examples) for _ in range(-(-needed // examples))]
    return list(torch.from_numpy(np.concatenate(epochs)[:needed]).chunk(SEARCH_STEPS))


def _loss(
    correction: CooccurrenceCorrection,
    examples: CalibrationExamples,
    logits_CI: Tensor,
    index_C: Tensor,
    gce_q: float,
) -> Tensor:
    """Return the mean loss of the examples `index_C`, whose base logits are `logits_CI`."""
    device = logits_CI.device
    correction(examples.recent_NW[index_C].to(device)).add_to(logits_CI)
    row_P, hidden_P = csr_entries(examples.start, index_C)
    logits_CI = logits_CI.index_put(
        (row_P.to(device), examples.hidden_P[hidden_P].to(device) - 1), logits_CI.new_tensor(-torch.inf)
    )
    column_C = examples.target_N[index_C].to(device) - 1
    log_p_C = -nn.functional.cross_entropy(logits_CI, column_C, reduction="none")
    # (1 - p^q) / q = -expm1(q log p) / q, which stays accurate when p is near 1. A lost target with p = 1e-6 costs 13.8
    # in log loss and 2.49 with q = 0.4, whose maximum is 2.5; one with p = 0.5 costs 0.69 and 0.61.
    return (-torch.expm1(gce_q * log_p_C) / gce_q if gce_q else -log_p_C).mean()


def _evaluate(
    correction: CooccurrenceCorrection,
    examples: CalibrationExamples,
    base: BaseLogits,
    scale: Tensor,
    gce_q: float,
) -> Fit:
    """Measure the mean loss over all examples, with the correction and without it."""
    before = after = 0.0
    with torch.no_grad():
        gain = correction.gain.clone()
        for index_C in torch.split(torch.arange(len(examples.target_N)), EXAMPLES_PER_STEP):
            logits_CI = base(index_C) * scale.exp()
            after += float(_loss(correction, examples, logits_CI, index_C, gce_q)) * len(index_C)
            correction.gain.fill_(0.0)
            before += float(_loss(correction, examples, base(index_C).clone(), index_C, gce_q)) * len(index_C)
            correction.gain.copy_(gain)
    return Fit(len(examples.target_N), before / len(examples.target_N), after / len(examples.target_N))
