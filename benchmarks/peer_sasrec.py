"""SASRec of RecTools (Kang and McAuley, 2018), trained by its own `fit` with Lightning.

A callback reports each batch to the clock. It is evaluated as by its `recommend`, the last place of a left-padded window, but
through its torch module: one row for each target. Shape letters: N targets, T steps, D width, I items.
"""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from clock import Clock
from protocol import Array, Log, Targets, products
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

DEFAULTS = {"n_blocks": 2, "session_max_len": 50, "loss": "softmax"}
ROWS = 256


class Ticking(pytorch_lightning.Callback):
    """Counts the targets of each batch: the positions that are not padding."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __deepcopy__(self, memo: dict[int, Any]) -> "Ticking":
        # the model copies its trainer, but the clock must be shared
        return self

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: dict[str, torch.Tensor], batch_idx: int
    ) -> None:
        if self.clock.tick(int((batch["y"] != 0).sum())):
            trainer.should_stop = True


class SASRec:
    """SASRec with its defaults except for the width, two blocks and the window."""

    def __init__(self, width: int, options: dict[str, Any]) -> None:
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        self.options = {**DEFAULTS, "n_factors": width, **options}
        self.model: Any = None

    def fit(self, log: Log, clock: Clock) -> None:
        row_E, item_E, time_ms_E = log.training()
        frame = pd.DataFrame(
            {
                Columns.User: row_E,
                Columns.Item: item_E,
                Columns.Weight: 1.0,
                Columns.Datetime: pd.to_datetime(time_ms_E, unit="ms"),
            }
        )
        ticking = Ticking(clock)
        self.model = SASRecModel(
            **self.options, dataloader_num_workers=0, get_trainer_func=lambda: _trainer(ticking)
        )
        clock.start()
        self.model.fit(Dataset.construct(frame))

    def scores(self, log: Log, targets: Targets) -> Iterator[Array]:
        net = self.model.lightning_model.torch_model
        column_I = self._columns(log.warm)
        column_W = column_I[log.warm_item - 1]
        learning = net.training
        net.eval()
        with torch.no_grad():
            query_ND = self._queries(net, column_W, targets)
            vectors = net.similarity_module.item_tower_forward(net.item_model.get_all_embeddings())
        net.train(learning)
        for s_CI in products(query_ND, vectors.numpy()[column_I]):
            s_CI[:, column_I == 0] = -np.inf
            yield s_CI

    def _columns(self, warm: int) -> Array:
        """Return its index of each warm item, [I]; 0, its padding, for items dropped with short sequences."""
        ids = self.model.data_preparator.item_id_map.external_ids
        column_I = np.zeros(warm, dtype=np.int64)
        for column, item in enumerate(ids.tolist()):
            if isinstance(item, int):
                column_I[item - 1] = column
        return column_I

    def _queries(self, net: Any, column_W: Array, targets: Targets) -> Array:
        length = self.options["session_max_len"]
        vectors = net.item_model.get_all_embeddings()
        query_ND = np.zeros((len(targets.row_N), vectors.shape[1]), dtype=np.float32)
        for start in range(0, len(query_ND), ROWS):
            chunk = slice(start, start + ROWS)
            x_NT = np.zeros((len(query_ND[chunk]), length), dtype=np.int64)
            for row, (first, last) in enumerate(
                zip(targets.first_N[chunk], targets.last_N[chunk], strict=True)
            ):
                # dropped items are skipped, as in its own recommend
                known = column_W[first:last][column_W[first:last] > 0][-length:]
                x_NT[row, length - len(known) :] = known
            encoded = net.encode_sessions({"x": torch.from_numpy(x_NT)}, vectors)[:, -1]
            query_ND[chunk] = net.similarity_module.session_tower_forward(encoded).numpy()
        return query_ND


def _trainer(ticking: Ticking) -> pytorch_lightning.Trainer:
    return pytorch_lightning.Trainer(
        max_epochs=1_000_000,
        accelerator="cpu",
        devices=1,
        callbacks=[ticking],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
