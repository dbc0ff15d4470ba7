"""The contracts as checks: run them on your own cell, encoder, scorer or loss; every built-in one passes them.

Shape letters: B rows, T steps, D width, N targets, I items. A check returns nothing, or raises `AssertionError` that names
the promise that was broken.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reprise.data.batching import BatchPlan
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.batch import Batch, Event, events_at_step, gather
from reprise.models.encoder import Encoded, Encoder
from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.models.scorer import Scorer
from reprise.nn.cells import Cell, State
from reprise.training.losses.loss import Loss
from reprise.training.losses.negatives import Sample

B, T = 3, 7


class _Fold(NamedTuple):
    """A cell and an encoder look alike to the checks."""

    module: nn.Module
    initial: Callable[[int], State]
    whole: Callable[[Tensor, State, Tensor], tuple[Tensor, State]]
    step: Callable[[Tensor, State], tuple[Tensor, State]]
    penalty: Callable[[Tensor, State, Tensor], Tensor] | None = None
    """What a chunk adds to the loss while training."""


def check_cell(cell: Cell, size: int, *, tolerance: float = 1e-5) -> None:
    """All promises of a cell that reads vectors of width `size`; if it `decays`, those about `keep` too."""
    _check_fold(_Fold(cell, cell.initial_state, cell.scan, cell.step), size, tolerance)
    if cell.decays:
        _check_decay(cell, size, tolerance)


def check_encoder(encoder: Encoder, size: int, *, tolerance: float = 1e-5) -> None:
    """All promises of an encoder that reads vectors of width `size`."""

    def whole(x_BTD: Tensor, state: State, valid_BT: Tensor) -> tuple[Tensor, State]:
        encoded = encoder(x_BTD, state, valid_BT)
        return encoded.hidden_BTD, encoded.state

    def penalty(x_BTD: Tensor, state: State, valid_BT: Tensor) -> Tensor:
        encoded: Encoded = encoder(x_BTD, state, valid_BT)
        return encoded.penalty

    _check_fold(_Fold(encoder, encoder.initial_state, whole, encoder.step, penalty), size, tolerance)


def _check_fold(fold: _Fold, size: int, tolerance: float) -> None:
    parameter = next(iter(fold.module.parameters()), torch.zeros(()))
    generator = torch.Generator().manual_seed(1)
    x_BTD = torch.randn(B, T, size, generator=generator).to(parameter)
    training = fold.module.training
    fold.module.eval()
    try:
        with torch.no_grad():
            _state_is_by_row(fold)
            _step_equals_whole(fold, x_BTD, tolerance)
            _chunks_equal_whole(fold, x_BTD, tolerance)
            _future_is_unseen(fold, x_BTD, tolerance)
            _padding_changes_nothing(fold, x_BTD, tolerance)
            _rows_are_strangers(fold, x_BTD, tolerance)
        _gradients_arrive(fold, x_BTD)
    finally:
        fold.module.train(training)


def _check_decay(cell: Cell, size: int, tolerance: float) -> None:
    parameter = next(iter(cell.parameters()))
    generator = torch.Generator().manual_seed(2)
    x_BTD = torch.randn(B, T, size, generator=generator).to(parameter)
    training = cell.training
    cell.eval()
    try:
        for width in (1, size):
            decay_BTD = torch.rand(B, T, width, generator=generator).to(parameter)
            # rows that forget everything and nothing, among those that forget some
            decay_BTD[0, 3], decay_BTD[1, 2], decay_BTD[2, 4] = 0.0, 1.0, 0.0
            with torch.no_grad():
                _keep_scales_the_state(cell, x_BTD, decay_BTD, tolerance)
                _steps_decay_as_the_whole(cell, x_BTD, decay_BTD, tolerance)
                _chunks_decay_as_the_whole(cell, x_BTD, decay_BTD, tolerance)
        _reset_is_exact(cell, x_BTD, tolerance)
    finally:
        cell.train(training)


def _all(x_BTD: Tensor) -> Tensor:
    return torch.ones(x_BTD.shape[:2], dtype=torch.bool, device=x_BTD.device)


def _state_is_by_row(fold: _Fold) -> None:
    for name, tensor in fold.initial(B).items():
        assert tensor.shape[0] == B, (
            f"state {name!r} must start with the batch, got shape {tuple(tensor.shape)}"
        )


def _step_equals_whole(fold: _Fold, x_BTD: Tensor, tolerance: float) -> None:
    hidden_BTD, last = fold.whole(x_BTD, fold.initial(B), _all(x_BTD))
    state = fold.initial(B)
    for t in range(T):
        hidden_BD, state = fold.step(x_BTD[:, t], state)
        _same(hidden_BD, hidden_BTD[:, t], tolerance, f"step {t} of the fold differs from the whole chunk")
    _same_state(state, last, tolerance, "the state after the fold differs from the one after the whole chunk")


def _chunks_equal_whole(fold: _Fold, x_BTD: Tensor, tolerance: float) -> None:
    hidden_BTD, last = fold.whole(x_BTD, fold.initial(B), _all(x_BTD))
    state, parts = fold.initial(B), []
    for part in (x_BTD[:, :3], x_BTD[:, 3:4], x_BTD[:, 4:]):
        hidden, state = fold.whole(part, state, _all(part))
        parts.append(hidden)
    _same(torch.cat(parts, 1), hidden_BTD, tolerance, "chunks with carried state differ from the whole")
    _same_state(state, last, tolerance, "the state after chunks differs from the one after the whole")


def _future_is_unseen(fold: _Fold, x_BTD: Tensor, tolerance: float) -> None:
    changed_BTD = torch.cat([x_BTD[:, :4], x_BTD[:, 4:] + 100.0], 1)
    before, _ = fold.whole(x_BTD, fold.initial(B), _all(x_BTD))
    after, _ = fold.whole(changed_BTD, fold.initial(B), _all(x_BTD))
    _same(after[:, :4], before[:, :4], tolerance, "a later event changes an earlier hidden state")


def _padding_changes_nothing(fold: _Fold, x_BTD: Tensor, tolerance: float) -> None:
    length_B = torch.tensor([T, 4, 0], device=x_BTD.device)
    valid_BT = torch.arange(T, device=x_BTD.device) < length_B[:, None]
    _, begun = fold.whole(x_BTD, fold.initial(B), _all(x_BTD))
    hidden_BTD, state = fold.whole(torch.where(valid_BT[..., None], x_BTD, 9.0), begun, valid_BT)
    for row, length in enumerate(length_B.tolist()):
        expected = {name: tensor[row : row + 1] for name, tensor in begun.items()}
        if length:
            own_BTD = x_BTD[row : row + 1, :length]
            own, expected = fold.whole(own_BTD, expected, _all(own_BTD))
            _same(hidden_BTD[row : row + 1, :length], own, tolerance, "padding changes a hidden state")
        mine = {name: tensor[row : row + 1] for name, tensor in state.items()}
        _same_state(mine, expected, tolerance, "padding changes the state")


def _rows_are_strangers(fold: _Fold, x_BTD: Tensor, tolerance: float) -> None:
    hidden_BTD, _ = fold.whole(x_BTD, fold.initial(B), _all(x_BTD))
    alone_BTD, _ = fold.whole(x_BTD[1:2], fold.initial(1), _all(x_BTD[1:2]))
    _same(alone_BTD, hidden_BTD[1:2], tolerance, "a row changes with its neighbours")


def _gradients_arrive(fold: _Fold, x_BTD: Tensor) -> None:
    fold.module.zero_grad()
    hidden_BTD, _ = fold.whole(x_BTD, fold.initial(B), _all(x_BTD))
    weight = torch.linspace(0.5, 1.5, hidden_BTD.numel(), device=x_BTD.device).reshape(hidden_BTD.shape)
    loss = (hidden_BTD * weight).sum()
    if fold.penalty is not None:
        fold.module.train()
        torch.manual_seed(1)
        loss = loss + fold.penalty(x_BTD, fold.initial(B), _all(x_BTD))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in fold.module.named_parameters():
        grad = parameter.grad
        assert grad is not None and bool(grad.abs().sum() > 0), f"no gradient reaches parameter {name!r}"
        assert bool(torch.isfinite(grad).all()), f"the gradient of parameter {name!r} is not finite"
    fold.module.zero_grad()


def _keep_scales_the_state(cell: Cell, x_BTD: Tensor, decay_BTD: Tensor, tolerance: float) -> None:
    _, begun = cell.scan(x_BTD, cell.initial_state(B), _all(x_BTD))
    x_BD, decay_BD = x_BTD[:, 0], decay_BTD[:, 0]
    scaled = {name: tensor * decay_BD for name, tensor in begun.items()}
    expected_BD, after = cell.step(x_BD, scaled)
    hidden_BD, state = cell.step(x_BD, begun, decay_BD)
    _same(hidden_BD, expected_BD, tolerance, "keep is not what the state is multiplied by before an event")
    _same_state(state, after, tolerance, "keep is not what the state is multiplied by before an event")


def _steps_decay_as_the_whole(cell: Cell, x_BTD: Tensor, decay_BTD: Tensor, tolerance: float) -> None:
    _, begun = cell.scan(x_BTD, cell.initial_state(B), _all(x_BTD))
    hidden_BTD, last = cell.scan(x_BTD, begun, _all(x_BTD), decay_BTD)
    state = begun
    for t in range(T):
        hidden_BD, state = cell.step(x_BTD[:, t], state, decay_BTD[:, t])
        _same(hidden_BD, hidden_BTD[:, t], tolerance, f"with keep, step {t} differs from the whole chunk")
    _same_state(state, last, tolerance, "with keep, the state after the fold differs from the whole chunk's")


def _chunks_decay_as_the_whole(cell: Cell, x_BTD: Tensor, decay_BTD: Tensor, tolerance: float) -> None:
    """Cut at 3 and padded there to 5: neither the cut nor the padding, nor `keep` at padded steps, is seen."""
    hidden_BTD, last = cell.scan(x_BTD, cell.initial_state(B), _all(x_BTD), decay_BTD)
    valid_BT = (torch.arange(5, device=x_BTD.device) < 3).expand(B, 5)
    first_BTD, state = cell.scan(x_BTD[:, :5], cell.initial_state(B), valid_BT, decay_BTD[:, :5])
    rest_BTD, state = cell.scan(x_BTD[:, 3:], state, _all(x_BTD[:, 3:]), decay_BTD[:, 3:])
    joined_BTD = torch.cat([first_BTD[:, :3], rest_BTD], 1)
    _same(joined_BTD, hidden_BTD, tolerance, "with keep, padded chunks differ from the whole")
    _same_state(state, last, tolerance, "with keep, the state after padded chunks differs from the whole's")


def _reset_is_exact(cell: Cell, x_BTD: Tensor, tolerance: float) -> None:
    x_BTD = x_BTD.clone().requires_grad_()
    decay_BTD = torch.ones_like(x_BTD[..., :1])
    decay_BTD[:, 3] = 0.0
    hidden_BTD, state = cell.scan(x_BTD, cell.initial_state(B), _all(x_BTD), decay_BTD)
    fresh_BTD, fresh = cell.scan(x_BTD[:, 3:], cell.initial_state(B), _all(x_BTD[:, 3:]))
    _same(hidden_BTD[:, 3:], fresh_BTD, tolerance, "keep = 0 differs from a fresh state")
    _same_state(state, fresh, tolerance, "keep = 0 differs from a fresh state")
    gradient = torch.autograd.grad(hidden_BTD[:, 3:].square().sum(), x_BTD)[0]
    assert bool(torch.isfinite(gradient).all()), "with keep = 0 a gradient is not finite"
    _same(gradient[:, :3], torch.zeros_like(gradient[:, :3]), 0.0, "a gradient crosses a reset (keep = 0)")
    # with gradients, as before: to the last bit, a cell may compute otherwise without
    other_BTD = torch.cat([x_BTD[:, :3] * 10, x_BTD[:, 3:]], 1)
    unmoved_BTD, _ = cell.scan(other_BTD, cell.initial_state(B), _all(x_BTD), decay_BTD)
    _same(
        unmoved_BTD[:, 3:].detach(), hidden_BTD[:, 3:].detach(), 0.0, "something outlives a reset (keep = 0)"
    )


def check_scorer(
    scorer: Scorer, dataset: SequenceDataset, *, part: Part = "test", tolerance: float = 1e-4
) -> None:
    """All promises of a scorer, on the sequences of a dataset: `score_batch` is the fold, rows are strangers."""
    first_U, last_U = dataset.part(part)
    plan = BatchPlan(dataset.offset[:-1], last_U, events_per_batch=64, max_steps=5)
    with torch.no_grad():
        state: State | None = None
        for number, chunk in enumerate(plan):
            batch = gather(dataset, chunk, first_U, last_U)
            before = scorer.initial_state(len(batch.item_BT)) if chunk.fresh or state is None else state
            scores_NI, state = scorer.score_batch(batch, before)
            folded_NI, after = _folded(scorer, batch, before)
            assert scores_NI.shape[0] == batch.targets, "score_batch must give one row a target"
            assert bool(torch.isfinite(scores_NI).all()), "scores must be finite"
            _same(scores_NI, folded_NI, tolerance, "score_batch differs from the fold")
            _same_state(state, after, tolerance, "the state after score_batch differs from the fold's")
            if number == 0:
                _padding_keeps_scores(scorer, state, tolerance)


def _folded(scorer: Scorer, batch: Batch, state: State) -> tuple[Tensor, State]:
    """One event after the other, as serving does it; each row's scores are taken where it has a target."""
    steps = []
    for t in range(batch.item_BT.shape[1]):
        state = scorer.advance(state, events_at_step(batch, t))
        now_s_B = batch.time_s_BT[:, t] + batch.query_gap_s_BT[:, t]
        steps.append(scorer.scores(state, now_s_B))
    return torch.stack(steps, 1)[batch.target_BT != PAD], state


def _padding_keeps_scores(scorer: Scorer, state: State, tolerance: float) -> None:
    rows = len(next(iter(state.values()))) if state else 1
    nothing = Event(
        torch.full((rows,), PAD), torch.zeros(rows, dtype=torch.float64), torch.zeros(rows, dtype=torch.int64),
        torch.full((rows,), float("nan")),
    )  # fmt: skip
    after = scorer.advance(state, nothing)
    _same_state(after, state, tolerance, "an unknown item changes the state")


class _Asked(NamedTuple):
    """What a loss is called with, besides the item vectors."""

    query_ND: Tensor
    target_N: Tensor
    sample: Sample | None

    def part(self, rows: slice) -> "_Asked":
        """The same for some targets only."""
        return _Asked(self.query_ND[rows], self.target_N[rows], self.sample)


def check_loss(loss: Loss, items: int = 50, size: int = 8) -> None:
    """All promises of a loss.

    It is one number, the sum over targets; it and its gradients are finite, even for queries of 1e4; item vectors may be
    of unit length, and their gradients sparse, which changes nothing.
    """
    for unit in (False, True):
        for scale in (1.0, 1e4):
            dense, sparse = (
                _loss_and_slopes(loss, _tables(items, size, unit)[place], scale) for place in (0, 1)
            )
            for name, slope in dense.items():
                assert bool(torch.isfinite(slope).all()), (
                    f"{name} is not finite for queries of about {scale:g}"
                )
                limit = 1e-4 * max(1.0, float(slope.abs().max()))
                _same(sparse[name], slope, limit, f"a sparse table changes {name}")
        _is_a_sum(loss, _tables(items, size, unit)[0])


def _tables(items: int, size: int, unit: bool) -> tuple[ItemEmbeddings, ItemEmbeddings]:
    """Equal item vectors, with dense gradients and with sparse ones."""
    dense, sparse = (ItemEmbeddings(items, size, unit=unit, sparse=sparse) for sparse in (False, True))
    weight = torch.randn(dense.weight.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for table in (dense, sparse):
            table.weight[1:] = weight[1:]
    return dense, sparse


def _asked(loss: Loss, vectors: ItemEmbeddings, scale: float, targets: int = 10) -> _Asked:
    generator = torch.Generator().manual_seed(1)
    items, size = len(vectors.weight) - 1, vectors.weight.shape[1]
    query_ND = (torch.randn(targets, size, generator=generator) * scale).requires_grad_()
    target_N = torch.randint(1, items + 1, (targets,), generator=generator)
    torch.manual_seed(1)
    sample = loss.negatives.sampler(torch.arange(1, items + 1)).draw() if loss.negatives else None
    return _Asked(query_ND, target_N, sample)


def _called(loss: Loss, vectors: ItemEmbeddings, asked: _Asked) -> Tensor:
    # a loss that draws for itself draws the same
    torch.manual_seed(1)
    return loss(asked.query_ND, vectors, asked.target_N, asked.sample)


def _loss_and_slopes(loss: Loss, vectors: ItemEmbeddings, scale: float) -> dict[str, Tensor]:
    asked = _asked(loss, vectors, scale)
    total = _called(loss, vectors, asked)
    assert total.shape == (), f"a loss is one number, got shape {tuple(total.shape)}"
    total.backward()  # type: ignore[no-untyped-call]
    found = {"the loss": total.detach()}
    leaves = {"queries": asked.query_ND, "item vectors": vectors.weight}
    for name, tensor in leaves.items():
        assert tensor.grad is not None, f"no gradient reaches the {name}"
        found[f"the gradient of the {name}"] = tensor.grad.to_dense()
    return found


def _is_a_sum(loss: Loss, vectors: ItemEmbeddings) -> None:
    asked = _asked(loss, vectors, 1.0)
    whole = _called(loss, vectors, asked).detach()
    parts = sum(_called(loss, vectors, asked.part(rows)).detach() for rows in (slice(0, 4), slice(4, 10)))
    assert abs(float(parts / whole) - 1) < 1e-3, (
        f"a loss is a sum over targets; of the first 4 and the other 6 it was {float(parts):g} together, "
        f"and {float(whole):g} of all"
    )


def _same(mine: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    assert mine.shape == expected.shape, f"{message}: shapes {tuple(mine.shape)} and {tuple(expected.shape)}"
    if mine.numel():
        apart = float((mine - expected).detach().abs().max())
        assert apart <= tolerance, f"{message} (by {apart:.2g})"


def _same_state(mine: State, expected: State, tolerance: float, message: str) -> None:
    assert mine.keys() == expected.keys(), f"{message}: names {sorted(mine)} and {sorted(expected)}"
    for name in mine:
        _same(mine[name].double(), expected[name].double(), tolerance, f"{message}, in {name!r}")
