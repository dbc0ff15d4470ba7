"""Fit the bias of cold items on the validation part, after the corrections: how far to trust content on this log.

Shape letters: N targets, C targets of a chunk, I scored items, K slots of a list, G biases that are tried.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.ranks import score_rows
from reprise.evaluation.ranking.targets import evaluation_mode, score_batches
from reprise.models.counts.counting import item_counts
from reprise.models.items.content_embeddings import ContentEmbeddings
from reprise.models.networks.network import DEFAULT_TEMPERATURE
from reprise.models.networks.sequence_model import SequenceModel
from reprise.training.recipe import TrainingConfig

LIST = 20
"""K: length of the lists on which the recall of cold items and their share of the slots are measured."""
TOP = 10
"""Length of the lists of the NDCG that must not fall."""
MAX_TARGETS = 8192
"""Largest number of validation targets that are scored."""
SEED = 0
"""Seed of the sample of targets and of the held-out items."""
MIN_COLD = 20
"""Minimum number of cold targets in the validation part; with fewer, some warm items take their part."""
HELD_OUT = 0.1
"""Share of the warm items that are scored without their learned vectors if there are not enough cold ones."""
MAX_SHARE = 2.0
"""Largest share of slots that cold items may take, as a multiple of the share of cold targets."""
STEPS = np.arange(-1.0, 1.0001, 0.025)
"""Changes of the learned bias that are tried, in cosines."""


class ColdItemsResult(NamedTuple):
    """The bias that was chosen for cold items, and what it does on the validation part."""

    targets: int
    """Number of targets."""
    cold: int
    """Number of targets whose item is cold."""
    simulated: bool
    """Whether these are warm items that were scored without their learned vectors, for want of cold ones."""
    shift: float | None
    """What was added to the bias that was learned in training; None if cold items are not recommended."""
    recall: float
    """Recall@20 of the cold targets."""
    ndcg: float
    """NDCG@10 of all targets."""
    ndcg_without: float
    """NDCG@10 of all targets if cold items are not recommended."""
    slots: float
    """Share of the slots of the lists that cold items take."""

    def line(self) -> str:
        """Return a summary in one line of text."""
        what = "held-out items" if self.simulated else "cold items"
        if self.shift is None:
            return (
                f"cold items: not recommended, because no bias finds {what} without lowering ndcg@{TOP} "
                f"({self.ndcg_without:.4f})"
            )
        return (
            f"cold items: bias fitted to {self.cold:,} of {self.targets:,} validation targets  recall@{LIST} of {what} "
            f"{self.recall:.4f}, {self.slots:.1%} of the slots  ndcg@{TOP} {self.ndcg_without:.4f} -> {self.ndcg:.4f}"
        )


class _Scores(NamedTuple):
    """Of each target, what decides its rank at any bias of cold items."""

    own_N: AnyArray
    """Score of the target's item."""
    is_cold_N: AnyArray
    """Whether that item is cold."""
    above_N: AnyArray
    """Number of items of the same sort, warm or cold, with a higher score."""
    warm_NK: AnyArray
    """The highest scores of warm items, descending."""
    cold_NK: AnyArray
    """The highest scores of cold items, descending."""


def fit_cold_items(
    model: SequenceModel, dataset: SequenceDataset, config: TrainingConfig, fabric: Fabric
) -> ColdItemsResult:
    """Choose the bias with which cold items are found most often without a cost to the list as a whole.

    Cold items may take at most `MAX_SHARE` times their share of the targets, or as many slots as give the best NDCG over
    all targets. Among the biases whose NDCG is at most the share `cold_cost` below the best one, and below that without
    cold items, the one with the highest recall of cold targets is chosen. If the validation part has hardly any cold
    target, a tenth of the warm items is scored without learned vectors instead.

    Args:
        model: A network with content, whose corrections are fitted.
        dataset: Its validation part decides.
        config: The hyper-parameters with which the network was trained.
        fabric: The device and the precision.
    """
    items = model.items
    assert isinstance(items, ContentEmbeddings)
    items.cold_scored.fill_(True)
    index_I = torch.arange(len(items.known), device=items.known.device)
    sample = EvaluationProtocol("valid").sample_targets(dataset, MAX_TARGETS, SEED)
    simulated = int((dataset.item[sample] > dataset.items.warm).sum()) < MIN_COLD
    if simulated:
        generator = torch.Generator().manual_seed(SEED)
        drawn_I = torch.rand(len(index_I), generator=generator).to(index_I.device) < HELD_OUT
        is_cold_I = drawn_I & (index_I > PAD) & (index_I <= dataset.items.warm)
    else:
        is_cold_I = index_I > dataset.items.warm
    with items.holding_out(is_cold_I):
        scores = _scores(model, dataset, config.exclude_seen, fabric, is_cold_I)
    targets, cold = len(scores.own_N), int(scores.is_cold_N.sum())
    without = _measure(scores, -np.inf)
    tried = {float(step): _measure(scores, step * _logits_per_cosine(model)) for step in STEPS}
    shift = _choose(tried, without, MAX_SHARE * cold / targets, items.content.cold_cost)
    best = without if shift is None else tried[shift]
    if shift is None:
        items.cold_scored.fill_(False)
    else:
        _shift_bias(model, shift)
    return ColdItemsResult(targets, cold, simulated, shift, best.recall, best.ndcg, without.ndcg, best.slots)


def cold_slots(
    model: SequenceModel, dataset: SequenceDataset, config: TrainingConfig, fabric: Fabric
) -> float:
    """Return the share of the slots of the lists that items without any event before the test part take.

    The lists are those of the validation part. The share is 0 for a network that recommends no cold items.

    Args:
        model: The network.
        dataset: Its validation part has the users.
        config: The hyper-parameters with which the network was trained.
        fabric: The device and the precision.
    """
    items = model.items
    if not isinstance(items, ContentEmbeddings) or not bool(items.cold_scored):
        return 0.0
    is_cold_I = _never_seen(dataset).to(items.known.device)
    return _measure(_scores(model, dataset, config.exclude_seen, fabric, is_cold_I), 0.0).slots


def keep_cold_slots(
    model: SequenceModel, dataset: SequenceDataset, config: TrainingConfig, fabric: Fabric, slots: float
) -> None:
    """Shift the bias of cold items so that they take the share `slots` of the lists, which is `cold_slots` from before.

    Fine-tuning on the validation part changes the scale on which cold items compete. It has learned the validation
    targets, so only the lists are compared and not the metrics. The other arguments are those of `cold_slots`.
    """
    items = model.items
    if not slots or not isinstance(items, ContentEmbeddings):
        return
    scores = _scores(model, dataset, config.exclude_seen, fabric, _never_seen(dataset).to(items.known.device))
    found = [_measure(scores, step * _logits_per_cosine(model)).slots for step in STEPS]
    _shift_bias(model, float(np.interp(slots, found, STEPS)))


def _logits_per_cosine(model: SequenceModel) -> float:
    """Return the change of a logit per unit of `STEPS`, which for scores without a temperature is that of the default."""
    return 1 / (model.head.temperature or DEFAULT_TEMPERATURE)


def _shift_bias(model: SequenceModel, step: float) -> None:
    """Add a step to the bias of cold items: a cosine, or for scores without a temperature the logit of that cosine."""
    with torch.no_grad():
        model.items.get_parameter("bias").add_(
            step if model.head.temperature else step * _logits_per_cosine(model)
        )


def _never_seen(dataset: SequenceDataset) -> Tensor:
    """Return the mask of the items without an event before the test part, [I + 1]."""
    never_I = (item_counts(dataset.scoring(len(dataset.items)), before="test") == 0).bool()
    return torch.nn.functional.pad(never_I, (1, 0))


class _Measured(NamedTuple):
    recall: float
    """Recall of the cold targets."""
    ndcg: float
    """Mean NDCG of all targets."""
    slots: float
    """Share of the slots of the lists that cold items take."""


def _choose(
    tried: Mapping[float, _Measured], without: _Measured, max_slots: float, cost: float
) -> float | None:
    """Return the bias of `fit_cold_items`; None if cold items are better left out."""
    possible = {step: one for step, one in tried.items() if one.recall > 0}
    if not possible:
        return None
    best = max(without, *possible.values(), key=lambda one: one.ndcg)
    # a limit of the slots must not keep the list as a whole from getting better
    limit = max(max_slots, best.slots)
    close = {
        step: one
        for step, one in possible.items()
        if one.ndcg >= (1 - cost) * best.ndcg and one.slots <= limit
    }
    return max(close, key=lambda step: (close[step].recall, close[step].ndcg), default=None)


def _measure(scores: _Scores, shift: float) -> _Measured:
    """Return the metrics if `shift` is added to the scores of all cold items."""
    own_N = np.where(scores.is_cold_N, scores.own_N + shift, scores.own_N)
    other_NK = np.where(scores.is_cold_N[:, None], scores.warm_NK, scores.cold_NK + shift)
    above_N = scores.above_N + (other_NK > own_N[:, None]).sum(1)
    rank_N = np.where(np.isfinite(own_N), above_N, np.iinfo(np.int64).max // 2)
    ndcg_N = np.where(rank_N < TOP, 1 / np.log2(np.minimum(rank_N, TOP) + 2.0), 0.0)
    hit_N = (rank_N < LIST)[scores.is_cold_N]
    # m cold items are among the first K if the m-th of them is above the warm item at rank K - m + 1
    slots_N = (scores.cold_NK + shift > scores.warm_NK[:, ::-1]).sum(1)
    return _Measured(
        float(hit_N.mean()) if len(hit_N) else 0.0, float(ndcg_N.mean()), float(slots_N.mean()) / LIST
    )


def _scores(
    model: SequenceModel, dataset: SequenceDataset, exclude_seen: bool, fabric: Fabric, is_cold_I: Tensor
) -> _Scores:
    """Score a sample of the validation targets, with the co-occurrences of the training part."""
    # a run that was resumed has no counts, and an evaluation leaves those of the validation part too
    model.count(dataset, "valid")
    protocol = EvaluationProtocol("valid", exclude_seen=exclude_seen)
    sample = protocol.sample_targets(dataset, MAX_TARGETS, SEED)
    found: list[_Scores] = []
    with evaluation_mode(model), fabric.autocast():
        for batch, scores in score_batches(model, dataset, protocol, QUICK):
            selected_M = np.flatnonzero(np.isin(batch.targets()[1], sample, assume_unique=True))
            if len(selected_M):
                row_M = torch.from_numpy(selected_M).to(scores.device)
                target_M = batch.target_items()[row_M]
                mask = batch.exclude_seen(selected_M) if exclude_seen else None
                chunks: list[_Scores] = []

                def keep(s_CI: Tensor, target_M: Tensor = target_M, chunks: list[_Scores] = chunks) -> None:
                    done = sum(len(chunk.own_N) for chunk in chunks)
                    chunks.append(_of_chunk(s_CI, target_M[done : done + len(s_CI)], is_cold_I))

                score_rows(scores.take(row_M), mask, keep)
                found += chunks
    return _Scores(*map(np.concatenate, zip(*found, strict=True)))


def _of_chunk(s_CI: Tensor, target_C: Tensor, is_cold_I: Tensor) -> _Scores:
    """Return the numbers that decide the ranks of the targets of a chunk."""
    own_C1, is_cold_C = s_CI.gather(1, target_C[:, None] - 1), is_cold_I[target_C]
    parts = [s_CI[:, mask_I] for mask_I in (~is_cold_I[1:], is_cold_I[1:])]
    warm_C, cold_C = ((part_CI > own_C1).sum(1) for part_CI in parts)
    columns = own_C1.squeeze(1), is_cold_C, torch.where(is_cold_C, cold_C, warm_C), *map(_best, parts)
    return _Scores(*(column.cpu().numpy() for column in columns))


def _best(s_CI: Tensor) -> Tensor:
    """Return the `LIST` highest scores of each row, descending; minus infinity if there are fewer."""
    best_CK = s_CI.topk(min(LIST, s_CI.shape[1]), dim=1).values
    return torch.nn.functional.pad(best_CK, (0, LIST - best_CK.shape[1]), value=-torch.inf)
