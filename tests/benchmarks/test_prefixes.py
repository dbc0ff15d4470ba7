"""Prefixes for peers of sessions: every prefix of a training sequence once an epoch, and scores in the order of targets."""

import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def prefixes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the module as the scripts in its folder do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import prefixes

    yield prefixes
    del sys.modules["prefixes"], sys.modules["protocol"]


@pytest.mark.parametrize("length", [3, 50])
def test_an_epoch_has_each_training_prefix_once(prefixes: ModuleType, path: Path, length: int) -> None:
    log = prefixes.Log.open(path)
    expected = sorted(
        (*log.item[max(first, at - length) : at].tolist(), int(log.item[at]))
        for first, end in zip(log.offset, log.train_end, strict=False)
        for at in range(first + 1, end)
    )
    size = 20
    batches = islice(prefixes.Prefixes(log, length).batches(size), -(-len(expected) // size))
    found = [
        (*item_L[item_L > 0].tolist(), int(target))
        for groups in batches
        for item_CL, target_C in groups
        for item_L, target in zip(item_CL, target_C, strict=True)
    ]
    assert sorted(found) == expected


def test_rows_of_a_group_have_similar_lengths(prefixes: ModuleType, path: Path) -> None:
    groups = next(prefixes.Prefixes(prefixes.Log.open(path), 50).batches(64))
    lengths = [(item_CL > 0).sum(1) for item_CL, _ in groups]
    assert all(int(shorter.max()) <= int(longer.min()) for shorter, longer in pairwise(lengths))
    assert [item_CL.shape[1] for item_CL, _ in groups] == [int(length_C.max()) for length_C in lengths]


def test_scores_follow_the_order_of_the_targets(
    prefixes: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefixes, "CHUNK", 7)
    monkeypatch.setattr(prefixes, "ROWS", 3)
    log = prefixes.Log.open(path)
    targets = log.targets("test", 0)

    def counts(item_CL: torch.Tensor) -> torch.Tensor:
        """Score an item by its number of occurrences."""
        scores = torch.zeros(len(item_CL), log.warm + 1)
        return scores.scatter_add(1, item_CL, torch.ones(item_CL.shape))

    found = np.concatenate(list(prefixes.scores_of_prefixes(log, targets, 4, counts)))
    expected = [
        np.bincount(log.warm_item[max(first, last - 4) : last], minlength=log.warm + 1)[1:]
        for first, last in zip(targets.first_N, targets.last_N, strict=True)
    ]
    assert found.tolist() == np.array(expected).tolist()
