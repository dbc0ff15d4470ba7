"""RepeatNet (Ren et al., 2019), from the PyTorch repository of its authors: its network, its loss and its `train_batch`.

Its folder is an argument; nothing of it is copied. Its `train_batch` adds the gradients of the groups of a batch and
then makes a step. Ids, padding and parameters are those of its `Run.py`.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from clock import Clock
from prefixes import Prefixes, scores_of_prefixes
from protocol import Array, Log, Targets

DEFAULTS = {"embedding_size": 128, "hidden_size": 128, "batch_size": 1024, "length": 50}
"""From its `Run.py`; it pads to the longest session of its file."""


class RepeatNet:
    """RepeatNet with the parameters that its repository publishes."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        sys.path.insert(0, str(folder))
        self.module = importlib.import_module("RepeatNet.Model")
        self.training = importlib.import_module("Common.CumulativeTrainer")
        self.options = {**DEFAULTS, **options}
        self.net: Any = None

    def fit(self, log: Log, clock: Clock) -> None:
        sizes = self.options["embedding_size"], self.options["hidden_size"]
        self.net = self.module.RepeatNet(*sizes, log.warm + 1)
        self.training.init_params(self.net)
        trainer = self.training.CumulativeTrainer(self.net, None, None, None, 0)
        optimizer = torch.optim.Adam(self.net.parameters())
        prefixes = Prefixes(log, self.options["length"])
        self.net.train()
        clock.start()
        for groups in prefixes.batches(self.options["batch_size"]):
            trainer.accumulation_steps, trainer.accumulation_count = len(groups), 0
            for item_CL, target_C in groups:
                trainer.train_batch(0, {"item_seq": item_CL, "item_tgt": target_C}, "train", optimizer)
            if clock.tick(sum(len(target_C) for _, target_C in groups)):
                break

    def scores(self, log: Log, targets: Targets) -> Iterator[Array]:
        self.net.eval()
        yield from scores_of_prefixes(log, targets, self.options["length"], self._answer)
        self.net.train()

    def _answer(self, item_CL: torch.Tensor) -> torch.Tensor:
        indicator_CLI = self.module.build_map(item_CL, max=self.net.item_vocab_size)
        probability: torch.Tensor = self.net.model({"item_seq": item_CL, "source_map": indicator_CLI})
        return probability
