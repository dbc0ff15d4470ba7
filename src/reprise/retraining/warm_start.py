"""Initial weights of a run that continues an earlier one: items that both know keep their vectors and optimiser state.

Shape letters: I items of the new dataset, J items of the earlier one, N new items.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset, Sizes
from reprise.errors import ConfigError
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.sequence_model import SequenceModel
from reprise.training.checkpoint import PROGRESS, RunProgress, read_tensors, write_tensors
from reprise.training.item_content import add_item_content
from reprise.training.optimizer import Optimizer
from reprise.training.recipe import Recipe
from reprise.training.row_adam import decide_sparse
from reprise.training.run_directory import RunDirectory

NEIGHBOURS = 2
"""Distance in a sequence up to which another item is a neighbour of a new item."""
SHRINKAGE = 2.0
"""Number of neighbours at which a new item begins halfway between the mean of all items and that of its neighbours."""
CORRECTIONS = ("cooccurrence.", "repeat_head.", "transitions.")
"""Prefixes of the names of weights that are fitted after the epochs, on the new counts."""
TINY, LARGER = Sizes(items=5, kinds=2), Sizes(items=9, kinds=4)
"""Sizes of two small networks. Axes whose lengths differ between them are those of items and of kinds."""


@dataclass(frozen=True)
class WarmStart:
    """What a run took over from an earlier one."""

    kept_items: int
    """Number of items that keep their vectors and optimiser state."""
    new_items: int
    """Number of items that the earlier network did not know."""
    from_neighbours: int
    """Number of new items whose vectors begin at those of their neighbours in the new training part."""
    dropped_items: int
    """Number of items of the earlier network that the new training part does not have."""
    optimizer: bool
    """Whether the state of the optimiser was taken over."""

    def __str__(self) -> str:
        state = "and optimiser state" if self.optimizer else "but not the optimiser state, which is missing"
        return (
            f"{self.kept_items:,} items keep their vectors {state}; {self.new_items:,} new items, {self.from_neighbours:,} of "
            f"which begin near their neighbours; {self.dropped_items:,} items are gone"
        )


def write_warm_start(
    recipe: Recipe, dataset: SequenceDataset, run: RunDirectory, earlier: RunDirectory, before: SequenceDataset, seed: int
) -> WarmStart:  # fmt: skip
    """Write the initial weights and optimiser state of a run, `run.initial`, and return what was taken over.

    Args:
        recipe: Recipe of the new run.
        dataset: Its dataset.
        run: Its directory, which exists. The fitted content of items is copied to it.
        earlier: Directory of the finished earlier run.
        before: The dataset of the earlier run.
        seed: Seed of the weights that are not taken over.

    Raises:
        ConfigError: the run is an ensemble or private, or the recipes build different networks.
        ArtefactError: a file of the earlier run is missing or damaged.
    """
    model = _new_model(recipe, dataset, run, earlier, seed)
    rows = RowMap.of(before, dataset)
    item_axes, kind_axes = _axes(recipe)
    # buffers that are added for the content of items have been computed for the new items
    built = {*_shapes(recipe, TINY), *(name for name, _ in model.named_parameters())}
    weights = read_tensors(earlier.weights)[0]
    slots = _slots(earlier)
    neighbour_NI = None if model.content is not None else _neighbours(dataset, rows)
    initial = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    optimizer = _optimizer(model, recipe, dataset)
    tensors: dict[str, Tensor] = {}
    for name, tensor in initial.items():
        old = weights.get(name)
        if old is None or name not in built or name.startswith(CORRECTIONS):
            continue
        mapped = _mapped(old, tensor, item_axes.get(name), kind_axes.get(name), rows)
        if mapped is None:
            raise ConfigError(
                f"{name} has the shape {tuple(tensor.shape)}, and in {earlier.path} {tuple(old.shape)}; train from scratch, or "
                "retrain with the recipe of that run"
            )
        if item_axes.get(name) is not None:
            _begin(mapped, item_axes[name], rows, neighbour_NI)
        initial[name] = mapped
    for name, parameter in model.named_parameters():
        for slot, value in slots.get(name, {}).items():
            moved = _moved_slot(slot, value, parameter, item_axes.get(name), rows, optimizer)
            if moved is not None:
                tensors[f"optimizer.{slot}.{name}"] = moved
    tensors |= {f"model.{name}": tensor for name, tensor in initial.items()}
    write_tensors(run.initial, tensors, {PROGRESS: json.dumps(asdict(RunProgress()))})
    near = 0 if neighbour_NI is None else int((np.diff(neighbour_NI.indptr) > 0).sum())
    return WarmStart(
        len(rows.new_K), len(rows.added_N), near, before.items.warm - len(rows.new_K),
        optimizer=any(name.startswith("optimizer.") for name in tensors),
    )  # fmt: skip


def check_continuable(recipe: Recipe, path: object) -> None:
    """Raise `ConfigError` if a run cannot be continued."""
    if recipe.training.privacy is not None:
        raise ConfigError(
            f"{path} was trained with differential privacy; a run that continues it would spend its epsilon again. "
            "Train from scratch on the new dataset, with an epsilon of its own"
        )
    if isinstance(recipe.model, Ensemble):
        raise ConfigError(
            f"{path} is an ensemble, which cannot be continued as a whole; retrain the runs in {path}/members, or train the "
            "ensemble from scratch"
        )


@dataclass(frozen=True)
class RowMap:
    """Which rows of an item table of the earlier network belong to which rows of the new one."""

    old_K: AnyArray
    """Indices of the items that both know, in the earlier network, [K]."""
    new_K: AnyArray
    """Their indices in the new network, [K]."""
    added_N: AnyArray
    """Indices of the new items, [N]."""
    old_kinds: AnyArray
    """Indices of the event kinds that both know, in the earlier network."""
    new_kinds: AnyArray
    """Their indices in the new network."""

    @classmethod
    def of(cls, before: SequenceDataset, now: SequenceDataset) -> "RowMap":
        """Match the warm items and the kinds of two datasets by their ids and names."""
        ids = now.items.ids[: now.items.warm].tolist()
        old_I = np.asarray([before.items.index(one) for one in ids], dtype=np.int64)
        old_I[old_I > before.items.warm] = 0
        (kept,) = np.nonzero(old_I)
        shared = [kind for kind in now.kinds if kind in before.kinds]
        return cls(
            old_I[kept],
            kept + 1,
            np.flatnonzero(old_I == 0) + 1,
            np.asarray([before.kinds.index(kind) for kind in shared], dtype=np.int64),
            np.asarray([now.kinds.index(kind) for kind in shared], dtype=np.int64),
        )


def _new_model(
    recipe: Recipe, dataset: SequenceDataset, run: RunDirectory, earlier: RunDirectory, seed: int
) -> SequenceModel:
    """Build the network of the new run, as its trainer will, with the fitted content of the earlier run."""
    torch.manual_seed(seed)
    model: SequenceModel = recipe.model.build(dataset.sizes)
    model.add_users(dataset)
    if earlier.content.exists() and not run.content.exists():
        # fitted again, the features would have another meaning, and their weights none
        tensors, metadata = read_tensors(earlier.content)
        write_tensors(run.content, tensors, metadata)
    add_item_content(model, dataset, run.content, trusted=True)
    return model


def _axes(recipe: Recipe) -> tuple[dict[str, int], dict[str, int]]:
    """Return, for each weight, the axis of items and the axis of event kinds, where it has one."""
    more_items, more_kinds = Sizes(LARGER.items, TINY.kinds), Sizes(TINY.items, LARGER.kinds)
    first, by_items, by_kinds = (_shapes(recipe, sizes) for sizes in (TINY, more_items, more_kinds))
    return _changed(first, by_items), _changed(first, by_kinds)


def _shapes(recipe: Recipe, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    with torch.random.fork_rng():
        return {name: tuple(tensor.shape) for name, tensor in recipe.model.build(sizes).state_dict().items()}


def _changed(one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    return {
        name: axis
        for name, shape in one.items()
        if name in other
        for axis, (left, right) in enumerate(zip(shape, other[name], strict=True))
        if left != right
    }


def _mapped(
    old: Tensor, new: Tensor, item_axis: int | None, kind_axis: int | None, rows: RowMap
) -> Tensor | None:
    """Return the new weights with the values of the earlier ones; None if the shapes do not allow it."""
    if item_axis is None and kind_axis is None:
        return old.clone() if old.shape == new.shape else None
    result = new.detach().clone()
    axis, source, target = (
        (item_axis, rows.old_K, rows.new_K)
        if item_axis is not None
        else (kind_axis, rows.old_kinds, rows.new_kinds)
    )
    assert axis is not None
    if [size for place, size in enumerate(old.shape) if place != axis] != [
        size for place, size in enumerate(new.shape) if place != axis
    ]:
        return None
    # tables of items have a row for padding, index 0; a table without it starts at the first item
    shift = 0 if item_axis is None or _has_padding(new.shape[axis], rows) else 1
    index = torch.from_numpy(target - shift)
    values = old.index_select(axis, torch.from_numpy(source - shift)).to(result.dtype)
    return result.index_copy(axis, index, values)


def _has_padding(length: int, rows: RowMap) -> bool:
    return length != len(rows.new_K) + len(rows.added_N)


def _begin(table: Tensor, axis: int, rows: RowMap, neighbours: Any) -> None:
    """Set the values of new items: between the mean of the kept items and that of their neighbours.

    The mean replaces random values, which the rows of a trained table are far from.
    """
    if not len(rows.added_N) or not len(rows.new_K):
        return
    shift = 0 if _has_padding(table.shape[axis], rows) else 1
    view = table.movedim(axis, 0)
    kept = torch.from_numpy(rows.new_K - shift)
    mean = view[kept].mean(0)
    target = torch.from_numpy(rows.added_N - shift)
    if neighbours is None:
        view[target] = mean
        return
    counts = np.asarray(neighbours.sum(axis=1)).ravel()
    flat = view[kept].reshape(len(kept), -1).numpy()
    near = torch.from_numpy((neighbours @ flat).astype(np.float32)).reshape(len(target), *mean.shape)
    weight = torch.from_numpy(counts.astype(np.float32)).reshape(-1, *[1] * mean.dim())
    view[target] = ((near + SHRINKAGE * mean) / (weight + SHRINKAGE)).to(view.dtype)


def _neighbours(dataset: SequenceDataset, rows: RowMap) -> Any:
    """Return how often each kept item is near each new item in the training part, [N, K], sparse."""
    from scipy.sparse import coo_array

    place_I = np.full(len(dataset.items) + 1, -1, dtype=np.int64)
    place_I[rows.new_K] = np.arange(len(rows.new_K))
    added_I = np.full(len(dataset.items) + 1, -1, dtype=np.int64)
    added_I[rows.added_N] = np.arange(len(rows.added_N))
    item_E = np.asarray(dataset.item)
    sequence_E = np.repeat(np.arange(len(dataset)), np.diff(dataset.offset))
    in_training_E = np.arange(len(item_E)) < dataset.train_end[sequence_E]
    new, near = [], []
    for distance in range(1, NEIGHBOURS + 1):
        together = (sequence_E[distance:] == sequence_E[:-distance]) & in_training_E[distance:]
        one, two = item_E[:-distance][together], item_E[distance:][together]
        for left, right in ((one, two), (two, one)):
            found = (added_I[left] >= 0) & (place_I[right] >= 0)
            new.append(added_I[left[found]])
            near.append(place_I[right[found]])
    rows_P, columns_P = np.concatenate(new), np.concatenate(near)
    shape = (len(rows.added_N), len(rows.new_K))
    return coo_array((np.ones(len(rows_P), dtype=np.float32), (rows_P, columns_P)), shape=shape).tocsr()


def _slots(earlier: RunDirectory) -> dict[str, dict[str, Tensor]]:
    """Return the optimiser state of each weight of the earlier run, by name; empty if its checkpoint is missing."""
    if not earlier.checkpoint.exists():
        return {}
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in read_tensors(earlier.checkpoint)[0].items():
        part, _, rest = key.partition(".")
        if part == "optimizer":
            slot, _, name = rest.partition(".")
            found.setdefault(name, {})[slot] = tensor
    return found


def _optimizer(model: SequenceModel, recipe: Recipe, dataset: SequenceDataset) -> Optimizer:
    """Return the optimiser that the trainer of the new run will make."""
    first_U, last_U = dataset.part("train")
    events_U = last_U - first_U
    batch = recipe.training.events_per_batch_for(int(events_U.sum()), int((events_U > 0).sum()))
    decide_sparse(model.items, recipe.training.loss, batch)
    return Optimizer(model, recipe.training)


def _moved_slot(
    slot: str,
    value: Tensor,
    parameter: torch.nn.Parameter,
    axis: int | None,
    rows: RowMap,
    optimizer: Optimizer,
) -> Tensor | None:
    """Return an entry of the optimiser state for the new weights; None if their optimiser has no such entry."""
    own = optimizer.tables[parameter].slots if parameter in optimizer.tables else None
    if own is not None and slot not in own:
        return None
    if own is None and slot not in ("step", "exp_avg", "exp_avg_sq"):
        return None
    if axis is None or value.dim() == 0:
        shape = own[slot].shape if own is not None else (value.shape if value.dim() == 0 else parameter.shape)
        return value.clone() if value.shape == shape else None
    shape = own[slot].shape if own is not None else parameter.shape
    # a new row has no gradients yet; its number of steps is that of the others, which are all up to date
    fill = float(value.max()) if slot == "row_step" else 0.0
    result = torch.full(tuple(shape), fill, dtype=value.dtype)
    return _mapped(value, result, axis, None, rows)
