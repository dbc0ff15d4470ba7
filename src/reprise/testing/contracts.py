"""Contract checks for your own cells, encoders, scorers and losses; the built-in ones pass them too.

Shape letters: B rows, T steps, D width, N targets, I items. A failed check raises `AssertionError` with the part of the
contract that is broken.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reprise.data.batching import BatchPlan
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.ranking.targets import scored_view
from reprise.models.batch import Batch, Event, events_at_step, gather
from reprise.models.encoder import Encoded, Encoder
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.models.scorer import Scorer
from reprise.nn.cells import Cell, State
from reprise.training.losses.loss import Loss
from reprise.training.losses.negatives import Sample

B, T = 3, 7


class _Recurrence(NamedTuple):
    """The common interface of a cell and an encoder."""

    module: nn.Module
    """The cell or the encoder."""
    initial_state: Callable[[int], State]
    """Returns the state of a batch without events."""
    scan: Callable[[Tensor, State, Tensor], tuple[Tensor, State]]
    """Reads a chunk of events."""
    step: Callable[[Tensor, State], tuple[Tensor, State]]
    """Reads one event of each row."""
    penalty: Callable[[Tensor, State, Tensor], Tensor] | None = None
    """Returns the term that a chunk adds to the loss during training; None: there is none."""


def check_cell(cell: Cell, size: int, *, tolerance: float = 1e-5) -> None:
    """Check that a cell of width `size` keeps the contract of `Cell`, including state decay if it supports it."""
    _check_recurrence(_Recurrence(cell, cell.initial_state, cell.scan, cell.step), size, tolerance)
    if cell.decays:
        _check_decay(cell, size, tolerance)


def check_encoder(encoder: Encoder, size: int, *, tolerance: float = 1e-5) -> None:
    """Check that an encoder of width `size` keeps the contract of `Encoder`."""

    def scan(x_BTD: Tensor, state: State, valid_BT: Tensor) -> tuple[Tensor, State]:
        encoded = encoder(x_BTD, state, valid_BT)
        return encoded.hidden_BTD, encoded.state

    def penalty(x_BTD: Tensor, state: State, valid_BT: Tensor) -> Tensor:
        encoded: Encoded = encoder(x_BTD, state, valid_BT)
        return encoded.penalty

    recurrence = _Recurrence(encoder, encoder.initial_state, scan, encoder.step, penalty)
    _check_recurrence(recurrence, size, tolerance)


def _check_recurrence(recurrence: _Recurrence, size: int, tolerance: float) -> None:
    parameter = next(iter(recurrence.module.parameters()), torch.zeros(()))
    generator = torch.Generator().manual_seed(1)
    x_BTD = torch.randn(B, T, size, generator=generator).to(parameter)
    training = recurrence.module.training
    recurrence.module.eval()
    try:
        with torch.no_grad():
            _check_state_shape(recurrence)
            _check_steps_equal_scan(recurrence, x_BTD, tolerance)
            _check_chunks_equal_scan(recurrence, x_BTD, tolerance)
            _check_causality(recurrence, x_BTD, tolerance)
            _check_padding(recurrence, x_BTD, tolerance)
            _check_rows_are_independent(recurrence, x_BTD, tolerance)
        _check_gradients(recurrence, x_BTD)
    finally:
        recurrence.module.train(training)


def _check_decay(cell: Cell, size: int, tolerance: float) -> None:
    parameter = next(iter(cell.parameters()))
    generator = torch.Generator().manual_seed(2)
    x_BTD = torch.randn(B, T, size, generator=generator).to(parameter)
    training = cell.training
    cell.eval()
    try:
        for width in (1, size):
            decay_BTD = torch.rand(B, T, width, generator=generator).to(parameter)
            # some rows decay completely (0), others not at all (1)
            decay_BTD[0, 3], decay_BTD[1, 2], decay_BTD[2, 4] = 0.0, 1.0, 0.0
            with torch.no_grad():
                _check_decay_scales_state(cell, x_BTD, decay_BTD, tolerance)
                _check_decay_in_steps(cell, x_BTD, decay_BTD, tolerance)
                _check_decay_in_chunks(cell, x_BTD, decay_BTD, tolerance)
        _check_reset(cell, x_BTD, tolerance)
    finally:
        cell.train(training)


def _all_valid(x_BTD: Tensor) -> Tensor:
    return torch.ones(x_BTD.shape[:2], dtype=torch.bool, device=x_BTD.device)


def _check_state_shape(recurrence: _Recurrence) -> None:
    for name, tensor in recurrence.initial_state(B).items():
        assert tensor.shape[0] == B, (
            f"state {name!r} must start with the batch, got shape {tuple(tensor.shape)}"
        )


def _check_steps_equal_scan(recurrence: _Recurrence, x_BTD: Tensor, tolerance: float) -> None:
    hidden_BTD, last = recurrence.scan(x_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    state = recurrence.initial_state(B)
    for t in range(T):
        hidden_BD, state = recurrence.step(x_BTD[:, t], state)
        _same(hidden_BD, hidden_BTD[:, t], tolerance, f"step {t} differs from the scan of all steps")
    _same_state(state, last, tolerance, "the state after all steps differs from the state after the scan")


def _check_chunks_equal_scan(recurrence: _Recurrence, x_BTD: Tensor, tolerance: float) -> None:
    hidden_BTD, last = recurrence.scan(x_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    state, parts = recurrence.initial_state(B), []
    for part in (x_BTD[:, :3], x_BTD[:, 3:4], x_BTD[:, 4:]):
        hidden, state = recurrence.scan(part, state, _all_valid(part))
        parts.append(hidden)
    _same(torch.cat(parts, 1), hidden_BTD, tolerance, "scans of chunks differ from one scan")
    _same_state(
        state, last, tolerance, "the state after scans of chunks differs from the state after one scan"
    )


def _check_causality(recurrence: _Recurrence, x_BTD: Tensor, tolerance: float) -> None:
    changed_BTD = torch.cat([x_BTD[:, :4], x_BTD[:, 4:] + 100.0], 1)
    before, _ = recurrence.scan(x_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    after, _ = recurrence.scan(changed_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    _same(after[:, :4], before[:, :4], tolerance, "a later event changes an earlier hidden state")


def _check_padding(recurrence: _Recurrence, x_BTD: Tensor, tolerance: float) -> None:
    length_B = torch.tensor([T, 4, 0], device=x_BTD.device)
    valid_BT = torch.arange(T, device=x_BTD.device) < length_B[:, None]
    _, middle = recurrence.scan(x_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    hidden_BTD, state = recurrence.scan(torch.where(valid_BT[..., None], x_BTD, 9.0), middle, valid_BT)
    for row, length in enumerate(length_B.tolist()):
        expected = {name: tensor[row : row + 1] for name, tensor in middle.items()}
        if length:
            own_BTD = x_BTD[row : row + 1, :length]
            own, expected = recurrence.scan(own_BTD, expected, _all_valid(own_BTD))
            _same(hidden_BTD[row : row + 1, :length], own, tolerance, "padding changes a hidden state")
        row_state = {name: tensor[row : row + 1] for name, tensor in state.items()}
        _same_state(row_state, expected, tolerance, "padding changes the state")


def _check_rows_are_independent(recurrence: _Recurrence, x_BTD: Tensor, tolerance: float) -> None:
    hidden_BTD, _ = recurrence.scan(x_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    alone_BTD, _ = recurrence.scan(x_BTD[1:2], recurrence.initial_state(1), _all_valid(x_BTD[1:2]))
    _same(alone_BTD, hidden_BTD[1:2], tolerance, "a row depends on other rows of the batch")


def _check_gradients(recurrence: _Recurrence, x_BTD: Tensor) -> None:
    recurrence.module.zero_grad()
    hidden_BTD, _ = recurrence.scan(x_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    weight = torch.linspace(0.5, 1.5, hidden_BTD.numel(), device=x_BTD.device).reshape(hidden_BTD.shape)
    loss = (hidden_BTD * weight).sum()
    if recurrence.penalty is not None:
        recurrence.module.train()
        torch.manual_seed(1)
        loss = loss + recurrence.penalty(x_BTD, recurrence.initial_state(B), _all_valid(x_BTD))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in recurrence.module.named_parameters():
        grad = parameter.grad
        assert grad is not None and bool(grad.abs().sum() > 0), f"no gradient reaches parameter {name!r}"
        assert bool(torch.isfinite(grad).all()), f"the gradient of parameter {name!r} is not finite"
    recurrence.module.zero_grad()


def _check_decay_scales_state(cell: Cell, x_BTD: Tensor, decay_BTD: Tensor, tolerance: float) -> None:
    _, middle = cell.scan(x_BTD, cell.initial_state(B), _all_valid(x_BTD))
    x_BD, decay_BD = x_BTD[:, 0], decay_BTD[:, 0]
    scaled = {name: tensor * decay_BD for name, tensor in middle.items()}
    expected_BD, after = cell.step(x_BD, scaled)
    hidden_BD, state = cell.step(x_BD, middle, decay_BD)
    _same(
        hidden_BD,
        expected_BD,
        tolerance,
        "step must multiply the state by the decay before it reads the event",
    )
    _same_state(
        state, after, tolerance, "step must multiply the state by the decay before it reads the event"
    )


def _check_decay_in_steps(cell: Cell, x_BTD: Tensor, decay_BTD: Tensor, tolerance: float) -> None:
    _, middle = cell.scan(x_BTD, cell.initial_state(B), _all_valid(x_BTD))
    hidden_BTD, last = cell.scan(x_BTD, middle, _all_valid(x_BTD), decay_BTD)
    state = middle
    for t in range(T):
        hidden_BD, state = cell.step(x_BTD[:, t], state, decay_BTD[:, t])
        _same(
            hidden_BD, hidden_BTD[:, t], tolerance, f"with decay, step {t} differs from the scan of all steps"
        )
    _same_state(
        state, last, tolerance, "with decay, the state after all steps differs from the state after the scan"
    )


def _check_decay_in_chunks(cell: Cell, x_BTD: Tensor, decay_BTD: Tensor, tolerance: float) -> None:
    """Check a cut after step 3 and padding from there to step 5; the decay at padded steps must not matter."""
    hidden_BTD, last = cell.scan(x_BTD, cell.initial_state(B), _all_valid(x_BTD), decay_BTD)
    valid_BT = (torch.arange(5, device=x_BTD.device) < 3).expand(B, 5)
    first_BTD, state = cell.scan(x_BTD[:, :5], cell.initial_state(B), valid_BT, decay_BTD[:, :5])
    rest_BTD, state = cell.scan(x_BTD[:, 3:], state, _all_valid(x_BTD[:, 3:]), decay_BTD[:, 3:])
    joined_BTD = torch.cat([first_BTD[:, :3], rest_BTD], 1)
    _same(joined_BTD, hidden_BTD, tolerance, "with decay, scans of padded chunks differ from one scan")
    _same_state(
        state,
        last,
        tolerance,
        "with decay, the state after scans of padded chunks differs from the state after one scan",
    )


def _check_reset(cell: Cell, x_BTD: Tensor, tolerance: float) -> None:
    x_BTD = x_BTD.clone().requires_grad_()
    decay_BTD = torch.ones_like(x_BTD[..., :1])
    decay_BTD[:, 3] = 0.0
    hidden_BTD, state = cell.scan(x_BTD, cell.initial_state(B), _all_valid(x_BTD), decay_BTD)
    fresh_BTD, fresh = cell.scan(x_BTD[:, 3:], cell.initial_state(B), _all_valid(x_BTD[:, 3:]))
    _same(hidden_BTD[:, 3:], fresh_BTD, tolerance, "decay = 0 differs from an initial state")
    _same_state(state, fresh, tolerance, "decay = 0 differs from an initial state")
    gradient = torch.autograd.grad(hidden_BTD[:, 3:].square().sum(), x_BTD)[0]
    assert bool(torch.isfinite(gradient).all()), "with decay = 0 a gradient is not finite"
    _same(gradient[:, :3], torch.zeros_like(gradient[:, :3]), 0.0, "a gradient crosses a reset (decay = 0)")
    # computed with gradients, like hidden_BTD: without them a cell may round differently, and this compares exactly
    other_BTD = torch.cat([x_BTD[:, :3] * 10, x_BTD[:, 3:]], 1)
    repeated_BTD, _ = cell.scan(other_BTD, cell.initial_state(B), _all_valid(x_BTD), decay_BTD)
    _same(
        repeated_BTD[:, 3:].detach(),
        hidden_BTD[:, 3:].detach(),
        0.0,
        "earlier events influence later ones across a reset (decay = 0)",
    )


def check_scorer(
    scorer: Scorer, dataset: SequenceDataset, *, part: Part = "test", tolerance: float = 1e-4
) -> None:
    """Check that a scorer keeps the contract of `Scorer`: `score_batch` must equal single steps on a dataset."""
    dataset = scored_view(scorer, dataset)
    first_U, last_U = dataset.part(part)
    plan = BatchPlan(dataset.offset[:-1], last_U, events_per_batch=64, max_steps=5)
    with torch.no_grad():
        state: State | None = None
        for number, chunk in enumerate(plan):
            batch = gather(dataset, chunk, first_U, last_U)
            before = scorer.initial_state(len(batch.item_BT)) if chunk.fresh or state is None else state
            scores_NI, state = scorer.score_batch(batch, before)
            stepped_NI, after = _step_scores(scorer, batch, before)
            assert scores_NI.shape[0] == batch.targets, "score_batch must return one row for each target"
            assert bool(torch.isfinite(scores_NI).all()), "scores must be finite"
            _same(scores_NI, stepped_NI, tolerance, "score_batch differs from advance and scores")
            _same_state(
                state, after, tolerance, "the state after score_batch differs from the state after advance"
            )
            if number == 0:
                _check_unknown_item(scorer, state, tolerance)


def _step_scores(scorer: Scorer, batch: Batch, state: State) -> tuple[Tensor, State]:
    """Read one event after the other, as serving does; return the scores at the targets and the last state."""
    steps = []
    for t in range(batch.item_BT.shape[1]):
        state = scorer.advance(state, events_at_step(batch, t))
        now_s_B = batch.time_s_BT[:, t] + batch.query_gap_s_BT[:, t]
        steps.append(scorer.scores(state, now_s_B))
    return torch.stack(steps, 1)[batch.target_BT != PAD], state


def _check_unknown_item(scorer: Scorer, state: State, tolerance: float) -> None:
    rows = len(next(iter(state.values()))) if state else 1
    unknown = Event(
        torch.full((rows,), PAD), torch.zeros(rows, dtype=torch.float64), torch.zeros(rows, dtype=torch.int64),
        torch.full((rows,), float("nan")),
    )  # fmt: skip
    after = scorer.advance(state, unknown)
    _same_state(after, state, tolerance, "an unknown item changes the state")


class _LossInputs(NamedTuple):
    """The arguments of a loss besides the item vectors."""

    query_ND: Tensor
    target_N: Tensor
    sample: Sample | None

    def rows(self, rows: slice) -> "_LossInputs":
        """Return the inputs of some targets."""
        return _LossInputs(self.query_ND[rows], self.target_N[rows], self.sample)


def check_loss(loss: Loss, items: int = 50, size: int = 8) -> None:
    """Check that a loss keeps the contract of `Loss`.

    The loss must be a sum over the targets. The loss and its gradients must be finite, even for queries of about 1e4. Item
    vectors may have unit length, and if a loss has negatives, gradients of the rows that it reads must equal those of the
    whole table.
    """
    for unit in (False, True):
        for scale in (1.0, 1e4):
            dense = _loss_and_gradients(loss, _table(items, size, unit), scale)
            for name, tensor in dense.items():
                assert bool(torch.isfinite(tensor).all()), (
                    f"{name} is not finite for queries of about {scale:g}"
                )
            if loss.negatives is not None:
                sparse = _loss_and_gradients(loss, _table(items, size, unit), scale, sparse=True)
                for name, tensor in dense.items():
                    tolerance = 1e-4 * max(1.0, float(tensor.abs().max()))
                    _same(sparse[name], tensor, tolerance, f"a sparse table changes {name}")
        _check_sum(loss, _table(items, size, unit))


def _table(items: int, size: int, unit: bool) -> ItemEmbeddings:
    """Return item vectors, the same in each call."""
    table = ItemEmbeddings(items, size, unit=unit)
    weight = torch.randn(table.weight.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        table.weight[1:] = weight[1:]
    return table


def _inputs(loss: Loss, vectors: ItemEmbeddings, scale: float, targets: int = 10) -> _LossInputs:
    generator = torch.Generator().manual_seed(1)
    items, size = len(vectors.weight) - 1, vectors.weight.shape[1]
    query_ND = (torch.randn(targets, size, generator=generator) * scale).requires_grad_()
    target_N = torch.randint(1, items + 1, (targets,), generator=generator)
    torch.manual_seed(1)
    sample = loss.negatives.sampler(torch.arange(1, items + 1)).draw() if loss.negatives else None
    return _LossInputs(query_ND, target_N, sample)


def _call(loss: Loss, vectors: ItemEmbeddings, inputs: _LossInputs) -> Tensor:
    # so that a loss that draws its own negatives draws the same ones in each call
    torch.manual_seed(1)
    return loss(inputs.query_ND, vectors, inputs.target_N, inputs.sample)


def _loss_and_gradients(
    loss: Loss, vectors: ItemEmbeddings, scale: float, *, sparse: bool = False
) -> dict[str, Tensor]:
    inputs = _inputs(loss, vectors, scale)
    read: Tensor = vectors.weight
    if sparse:
        vectors.sparse = True
        # a loss that reads the table itself has no gradient here
        read = vectors.weight.detach().clone().requires_grad_()
        vectors.use_rows(torch.arange(len(read)), read)
    total = _call(loss, vectors, inputs)
    assert total.shape == (), f"a loss must be one number, got shape {tuple(total.shape)}"
    total.backward()  # type: ignore[no-untyped-call]
    results = {"the loss": total.detach()}
    leaves = {"queries": inputs.query_ND, "item vectors": read}
    for name, tensor in leaves.items():
        assert tensor.grad is not None, f"no gradient reaches the {name}"
        results[f"the gradient of the {name}"] = tensor.grad
    return results


def _check_sum(loss: Loss, vectors: ItemEmbeddings) -> None:
    inputs = _inputs(loss, vectors, 1.0)
    whole = _call(loss, vectors, inputs).detach()
    parts = sum(_call(loss, vectors, inputs.rows(rows)).detach() for rows in (slice(0, 4), slice(4, 10)))
    assert abs(float(parts / whole) - 1) < 1e-3, (
        f"a loss must be a sum over targets; the losses of the first 4 and the other 6 targets add up to {float(parts):g}, "
        f"but the loss of all 10 is {float(whole):g}"
    )


def _same(actual: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    assert actual.shape == expected.shape, (
        f"{message}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
    )
    if actual.numel():
        difference = float((actual - expected).detach().abs().max())
        assert difference <= tolerance, f"{message} (by {difference:.2g})"


def _same_state(actual: State, expected: State, tolerance: float, message: str) -> None:
    assert actual.keys() == expected.keys(), f"{message}: names {sorted(actual)} and {sorted(expected)}"
    for name in actual:
        _same(actual[name].double(), expected[name].double(), tolerance, f"{message}, in {name!r}")
