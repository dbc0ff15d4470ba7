"""Batches and events from lists of items; timestamps, kinds and values are dummies."""

import torch

from reprise.models.batch import Batch, Event


def batch(items: list[list[int]], targets: list[list[int]], fresh: bool = True) -> Batch:
    item_BT, target_BT = torch.tensor(items), torch.tensor(targets)
    zeros_BT = torch.zeros(item_BT.shape)
    rows_B = torch.arange(len(items))
    return Batch(
        item_BT, target_BT, zeros_BT.double(), zeros_BT.long(), zeros_BT, zeros_BT,
        torch.full((len(items),), fresh), rows_B, rows_B,
    )  # fmt: skip


def event(*items: int) -> Event:
    rows = len(items)
    return Event(
        torch.tensor(items),
        torch.zeros(rows, dtype=torch.float64),
        torch.zeros(rows, dtype=torch.int64),
        torch.full((rows,), float("nan")),
    )
