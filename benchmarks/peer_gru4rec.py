"""The official GRU4Rec in PyTorch (Hidasi and Karatzoglou, 2018), trained by its own `fit`.

Its folder is an argument; nothing of it is copied. Its iterator over sessions is wrapped, so that the clock ticks after
each batch; a session is a sequence of the log. Shape letters: B rows, N targets, D width, I items.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from clock import Clock
from protocol import Array, Log, Targets, products

DEFAULTS = {"loss": "cross-entropy", "constrained_embedding": True, "n_epochs": 1_000_000}
SAMPLE_STORE = 1_000_000
"""Negatives drawn ahead. The default of ten million takes seconds before the first batch and gains nothing later."""
ROWS = 1024
"""Sequences evaluated in parallel."""


class TimeUp(Exception):  # noqa: N818 - not an error, but the only way to leave its `fit`
    """Raised when the training time is over."""


class GRU4Rec:
    """GRU4Rec with session-parallel batches and sampled negatives shared by a batch."""

    def __init__(self, folder: Path, width: int, params: str | None, options: dict[str, Any]) -> None:
        sys.path.insert(0, str(folder))
        self.module = importlib.import_module("gru4rec_pytorch")
        published = _params(folder, params) if params else {}
        self.options = {**DEFAULTS, **published, "layers": [width], **options}
        self.model = self.module.GRU4Rec(device=torch.device("cpu"), **self.options)
        assert self.model.constrained_embedding, "only tied vectors are supported here"

    def fit(self, log: Log, clock: Clock) -> None:
        row_E, item_E, time_ms_E = log.training()
        frame = pd.DataFrame({"SessionId": row_E, "ItemId": item_E, "Time": time_ms_E})
        ticking = _ticking(self.module.SessionDataIterator, clock)
        clock.start()
        with (
            mock.patch.object(self.module, "SessionDataIterator", ticking),
            mock.patch.object(torch, "tensor", partial(_tensor, torch.tensor)),
            contextlib.suppress(TimeUp),
        ):
            self.model.fit(frame, sample_cache_max_size=SAMPLE_STORE)
            if self.model.error_during_train:
                raise RuntimeError("GRU4Rec stopped before its time: its loss was not a number")
            clock.finish()

    def scores(self, log: Log, targets: Targets) -> Iterator[Array]:
        net = self.model.model
        column_I = self.model.data_iterator.itemidmap.reindex(np.arange(1, log.warm + 1)).to_numpy()
        assert not np.isnan(column_I).any(), "every warm item is in the training part"
        column_I = column_I.astype(np.int64)
        with torch.no_grad():
            hidden_ND = _hidden(net, column_I[log.warm_item - 1], targets)
            vector_ID = torch.cat([net.Wy.weight, net.By.weight], 1)[torch.from_numpy(column_I)].numpy()
        one_N1 = np.ones((len(hidden_ND), 1), dtype=np.float32)
        yield from products(np.hstack([hidden_ND, one_N1]), vector_ID)


def _params(folder: Path, name: str) -> dict[str, Any]:
    """Read one of its published parameter files, by name or path."""
    file = Path(name) if name.endswith(".py") else folder / "paramfiles" / f"{name}.py"
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    return dict(names["gru4rec_params"])


def _tensor(make: Callable[..., torch.Tensor], data: Any, **options: Any) -> torch.Tensor:
    """Convert a pandas series as older torch did. Current torch indexes it by label, which breaks the log-q term."""
    return make(data.to_numpy() if isinstance(data, pd.Series) else data, **options)


def _ticking(iterator: type, clock: Clock) -> type:
    """Wrap its iterator so that the clock counts each batch when the next one is requested."""

    class Ticking(iterator):  # type: ignore[misc]
        def __call__(
            self, enable_neg_samples: bool, reset_hook: Callable[..., bool] | None = None
        ) -> Iterator[Any]:
            for batch in super().__call__(enable_neg_samples, reset_hook):
                yield batch
                if clock.tick(len(batch[0])):
                    raise TimeUp

    return Ticking


def _hidden(net: Any, column_W: Array, targets: Targets) -> Array:
    """Return the hidden state after each target's context, [N, D]; zeros after an empty one."""
    hidden_ND = np.zeros((len(targets.row_N), net.layers[-1]), dtype=np.float32)
    row_S, first_target_S, count_S = np.unique(targets.row_N, return_index=True, return_counts=True)
    length_S = (targets.last_N - targets.first_N)[first_target_S + count_S - 1]
    order_S = np.argsort(-length_S, kind="stable")
    for start in range(0, len(row_S), ROWS):
        rows = order_S[start : start + ROWS]
        _read(net, column_W, targets, (first_target_S[rows], count_S[rows], length_S[rows]), hidden_ND)
    return hidden_ND


def _read(
    net: Any, column_W: Array, targets: Targets, rows: tuple[Array, Array, Array], hidden_ND: Array
) -> None:
    """Read sequences step by step, longest first, and keep the states before targets."""
    first_target_B, count_B, length_B = rows
    begin_B = targets.first_N[first_target_B]
    target_P = np.concatenate(
        [np.arange(first, first + n) for first, n in zip(first_target_B, count_B, strict=True)]
    )
    row_P = np.repeat(np.arange(len(count_B)), count_B)
    step_P = (targets.last_N - targets.first_N)[target_P]
    by_step = np.argsort(step_P, kind="stable")
    edges = np.searchsorted(step_P[by_step], np.arange(1, int(length_B[0]) + 2))
    hidden = [torch.zeros(len(length_B), size) for size in net.layers]
    for step in range(int(length_B[0])):
        alive = int(np.count_nonzero(length_B > step))
        hidden = [state[:alive] for state in hidden]
        item_B = torch.from_numpy(column_W[begin_B[:alive] + step])
        embedded, _, _ = net.embed(item_B, hidden)
        top_BD = net.hidden_step(embedded, hidden)
        targets_here = by_step[edges[step] : edges[step + 1]]
        hidden_ND[target_P[targets_here]] = top_BD[torch.from_numpy(row_P[targets_here])].numpy()
