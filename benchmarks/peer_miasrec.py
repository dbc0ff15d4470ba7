"""MiaSRec (Choi et al., 2024), from its repository: its network and its loss.

Its folder is an argument; nothing of it is copied. Adam with its published learning rate minimises its
`calculate_loss`; the loop is here because its own holds the scores of a whole batch at all places, 8 GB on Tmall.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from clock import Clock
from prefixes import Prefixes, scores_of_prefixes
from protocol import Array, Log, Targets

LENGTH = 50
"""Longest session that it reads, by its published log."""
DEFAULTS = {"learning_rate": 1e-3}
"""From its published log; all else is in its folder `props`."""
FIELDS = {
    "USER_ID_FIELD": "session_id",
    "ITEM_ID_FIELD": "item_id",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "NEG_PREFIX": "neg_",
    "MAX_ITEM_LIST_LENGTH": LENGTH,
    "device": "cpu",
}


class MiaSRec:
    """MiaSRec with the parameters that its repository publishes."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        sys.path.insert(0, str(folder))
        published = yaml.safe_load((folder / "props" / "miasrec.yaml").read_text())
        # PyYAML reads 1e-12 as text, RecBole as a number
        published["layer_norm_eps"] = float(published["layer_norm_eps"])
        self.options = {**DEFAULTS, **published, **options}
        self.net: Any = None

    def fit(self, log: Log, clock: Clock) -> None:
        sizes = SimpleNamespace(num=lambda _: log.warm + 1, field2seqlen={"item_id_list": LENGTH})
        self.net = importlib.import_module("miasrec").MIASREC({**FIELDS, **self.options}, sizes)
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.options["learning_rate"])
        prefixes = Prefixes(log, LENGTH)
        clock.start()
        for groups in prefixes.batches(self.options["train_batch_size"]):
            rows = sum(len(target_C) for _, target_C in groups)
            optimizer.zero_grad()
            for item_CL, target_C in groups:
                loss = self.net.calculate_loss({"item_id_list": item_CL, "item_id": target_C})
                (loss * (len(target_C) / rows)).backward()
            optimizer.step()
            if clock.tick(rows):
                break

    def scores(self, log: Log, targets: Targets) -> Iterator[Array]:
        self.net.eval()
        yield from scores_of_prefixes(
            log, targets, LENGTH, lambda item_CL: self.net.full_sort_predict({"item_id_list": item_CL})
        )
        self.net.train()
