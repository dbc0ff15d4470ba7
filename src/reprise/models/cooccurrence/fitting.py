"""Finding what counted transitions are worth, on events that were not counted.

Shape letters: N cases, C cases of a step, W events before a case (the window, newest last), I items, P pairs of a case and an
item that came before it.
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
from reprise.models.cooccurrence.counting import entries

CASES = 8192
"""Cases at most: some twenty numbers are looked for, and more would not say more of them."""
STEPS = 160
"""Steps of the search."""
CASES_AT_ONCE = 256
"""Cases of a step."""
FOCUS = 0.4
"""q of the loss (1 - p^q) / q of a target with probability p (generalised cross-entropy, Zhang and Sabuncu 2018).

In log loss (q = 0) the targets far down the list weigh most, and a list shows its top.
"""
RATE = 0.1
"""Learning rate of the search at its start; it falls to 0 in a straight line."""
FIRST_GAIN = 0.5
"""The gain a search begins with, and the one that stays where there is no case."""

Base = Callable[[Tensor], Tensor]
"""Which cases, [C] -> the logits that the transitions are added to, [C, I]."""


class CalibrationExamples(NamedTuple):
    """Moments at which it is known what came next, in the order of the dataset."""

    position_N: AnyArray
    """Which event of the dataset came next, int64."""
    recent_NW: Tensor
    """The last items before it that have a vector, int64; `PAD` where there are fewer."""
    target_N: Tensor
    """Its item, 1..I, int64."""
    start: Tensor
    """[N + 1], int64: the items that are no candidates for case n are at `start[n]`..`start[n + 1]`."""
    hidden_P: Tensor
    """Item indices, int64."""


class Fit(NamedTuple):
    """How a search went."""

    cases: int
    before: float
    """Mean loss without transitions."""
    after: float
    """Mean loss with them."""


def find_calibration_examples(
    dataset: SequenceDataset, part: Part, window: int, *, exclude_seen: bool = False, most: int = CASES
) -> CalibrationExamples:
    """The events of a part whose item is known and was preceded by another, or `most` of them, drawn evenly.

    Args:
        dataset: Where the events are.
        part: Which of them are cases.
        window: W, how many items before each are wanted.
        exclude_seen: Whether items that came earlier in the sequence are no candidates; an event that repeats one is
            then no case.
        most: Cases at most.
    """
    first_U, last_U = dataset.part(part)
    start_U, warm = np.asarray(dataset.offset[:-1]), dataset.items.warm
    first_U = np.maximum(first_U, start_U + 1)
    length_U = np.maximum(last_U - first_U, 0)
    row_N = np.repeat(np.arange(len(dataset)), length_U)
    position_N = np.arange(len(row_N)) + np.repeat(first_U - (length_U.cumsum() - length_U), length_U)
    known_N = np.flatnonzero(dataset.item[position_N] <= warm)
    # a few more than wanted, since some may turn out to be no cases
    drawn = np.random.default_rng(0).permutation(known_N)[: 2 * most]
    found: dict[int, AnyArray] = {}
    for place in drawn:
        if len(found) == most:
            break
        before = np.asarray(dataset.item[start_U[row_N[place]] : position_N[place]], dtype=np.int64)
        if exclude_seen and dataset.item[position_N[place]] in before:
            continue
        before = before[before <= warm]
        # a whole history is only needed where it hides candidates
        found[int(position_N[place])] = before if exclude_seen else before[-window:].copy()
    position_N = np.array(sorted(found), dtype=np.int64)
    recent_NW = np.full((len(found), window), PAD, dtype=np.int64)
    for place, position in enumerate(position_N):
        last = found[position][-window:]
        recent_NW[place, window - len(last) :] = last
    hidden = [found[position] for position in position_N] if exclude_seen else [recent_NW[:0, 0]] * len(found)
    start = np.cumsum([0, *map(len, hidden)])
    hidden_P = np.concatenate([recent_NW[:0, 0], *hidden])
    target_N = dataset.item[position_N].astype(np.int64)
    return CalibrationExamples(position_N, *map(torch.from_numpy, (recent_NW, target_N, start, hidden_P)))


def fit_correction(
    residual: CooccurrenceCorrection, cases: CalibrationExamples, base: Base, focus: float = FOCUS
) -> Fit:
    """Find the parameters of a residual that has counted, by a softmax loss of the cases (Adam, maximum a posteriori).

    The loss is generalised cross-entropy, see `FOCUS`; with `focus` 0, log loss.
    The logits of `base` may be weighted as a whole while the search lasts. In the end the gain is given in their unit, so that
    they stay what they are. Each parameter is held near its start by a normal prior of variance 1: where there are few cases,
    little changes.
    """
    with torch.no_grad():
        residual.gain.fill_(FIRST_GAIN)
    if not len(cases.target_N):
        return Fit(0, 0.0, 0.0)
    scale = nn.Parameter(torch.zeros(1, device=residual.gain.device))
    learned = [scale, *residual.parameters()]
    starts = [parameter.detach().clone() for parameter in learned]
    adam = torch.optim.Adam(learned, lr=RATE)
    for step, case_C in enumerate(_steps(len(cases.target_N))):
        adam.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        loss = _loss(residual, cases, base(case_C) * scale.exp(), case_C, focus)
        for parameter, start in zip(learned, starts, strict=True):
            loss = loss + (parameter - start).square().sum() / (2 * len(cases.target_N))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    fit = _told(residual, cases, base, scale, focus)
    with torch.no_grad():
        residual.gain.div_(scale.exp())
    return fit


def _steps(cases: int) -> list[Tensor]:
    """Which cases each step looks at: all in a random order, again and again."""
    generator = np.random.default_rng(1)
    wanted = STEPS * min(CASES_AT_ONCE, cases)
    rounds = [generator.permutation(cases) for _ in range(-(-wanted // cases))]
    return list(torch.from_numpy(np.concatenate(rounds)[:wanted]).chunk(STEPS))


def _loss(
    residual: CooccurrenceCorrection,
    cases: CalibrationExamples,
    logits_CI: Tensor,
    case_C: Tensor,
    focus: float,
) -> Tensor:
    """The mean loss of some cases."""
    device = logits_CI.device
    residual(cases.recent_NW[case_C].to(device)).add_to(logits_CI)
    row_P, place_P = entries(cases.start, case_C)
    logits_CI = logits_CI.index_put(
        (row_P.to(device), cases.hidden_P[place_P].to(device) - 1), logits_CI.new_tensor(-torch.inf)
    )
    column_C = cases.target_N[case_C].to(device) - 1
    log_p_C = -nn.functional.cross_entropy(logits_CI, column_C, reduction="none")
    return (-torch.expm1(focus * log_p_C) / focus if focus else -log_p_C).mean()


def _told(
    residual: CooccurrenceCorrection, cases: CalibrationExamples, base: Base, scale: Tensor, focus: float
) -> Fit:
    before = after = 0.0
    with torch.no_grad():
        gain = residual.gain.clone()
        for case_C in torch.split(torch.arange(len(cases.target_N)), CASES_AT_ONCE):
            after += float(_loss(residual, cases, base(case_C) * scale.exp(), case_C, focus)) * len(case_C)
            residual.gain.fill_(0.0)
            before += float(_loss(residual, cases, base(case_C).clone(), case_C, focus)) * len(case_C)
            residual.gain.copy_(gain)
    return Fit(len(cases.target_N), before / len(cases.target_N), after / len(cases.target_N))
