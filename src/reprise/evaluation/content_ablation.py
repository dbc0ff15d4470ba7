"""What a network gains from the content of items: its metrics without each column, and without the content of warm items.

Shape letters: I items, F features.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from reprise.content.fitted_content import FittedContent
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.comparison.paired import PairedComparison, compare
from reprise.evaluation.evaluator import evaluate_ranks
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol, default_lengths
from reprise.evaluation.report import Report
from reprise.models.scorer import Scorer

WARM_ITEMS = "without the content of warm items"
"""Name of the network in which only cold items have content."""
GROUPS = ("warm", "cold")
"""Slices whose differences are recorded besides those of all targets."""


def ablate_content(
    model: Scorer,
    dataset: SequenceDataset,
    protocol: EvaluationProtocol | None = None,
    options: EvaluationOptions | None = None,
    *,
    report: Report | None = None,
) -> PairedComparison:
    """Compare a network with itself, with one column of the item table after the other set to missing for all items.

    The weights do not change. So a difference says what this network reads from a column, not what a network trained
    without it would reach: that one may find the same in another column or in the ids. The last comparison removes all
    content of the items of the training part, which are then represented by their learned vectors.

    Args:
        model: A network that reads the content of items: it has `content`, and modules with the features of all items in
            a tensor `features`, [I + 1, F].
        dataset: Dataset that it was trained on.
        protocol: Which events are targets; None: as `evaluate` does without one.
        options: Metrics, slices and intervals; list metrics and calibration are not computed.
        report: Report of the unchanged network under the same protocol and options; None: it is made.

    Raises:
        ConfigError: The model does not read the content of items.
        DataError: The options have no intervals, or the part has no targets.
    """
    tables, content = _feature_tables(model), _content(model)
    if not tables or content is None:
        raise ConfigError(
            f"{model.name} does not read the content of items, so nothing can be removed; train a network with model.content"
        )
    if protocol is None:
        protocol = (
            EvaluationProtocol(at=default_lengths(dataset.items.warm)) if report is None else report.protocol
        )
    options = replace(options or EvaluationOptions(), lists=False, calibration=False, leaks=False)
    whole = report or evaluate_ranks(model, dataset, protocol, options).report
    every = slice(1, None)
    removals = {
        f"without {block.column}": (every, slice(block.first, block.last)) for block in content.blocks
    }
    removals[WARM_ITEMS] = (slice(1, dataset.items.warm + 1), slice(None))
    reports = []
    for name, (rows, columns) in removals.items():
        with _removed([feature_IF[rows, columns] for feature_IF in tables]):
            found = evaluate_ranks(model, dataset, protocol, options).report
        reports.append(replace(found, name=name))
    return compare(replace(whole, name="all content"), *reports)


def reads_content(model: object) -> bool:
    """Return whether a model is a network that reads the content of items."""
    return _content(model) is not None and bool(_feature_tables(model))


def ablation_record(found: PairedComparison) -> list[dict[str, Any]]:
    """Return `[{"name", "differences", "warm", "cold"}]` as JSON values: what each removal costs, with intervals.

    A difference is that of the whole network minus the changed one. `warm` and `cold` are None without such targets.
    """
    return [
        {
            "name": report.name,
            "differences": _intervals(found, place),
            **{
                group: _intervals(found.slices[group], place) if group in found.slices else None
                for group in GROUPS
            },
        }
        for place, report in enumerate(found.reports[1:])
    ]


def _intervals(found: PairedComparison, place: int) -> dict[str, Any]:
    return {metric: gap.to_dict() for metric, gap in found.differences[place].items()}


def _content(model: object) -> FittedContent | None:
    return getattr(model, "content", None)


def _feature_tables(model: object) -> list[Tensor]:
    """Return the features of all items that a network, or each member of an ensemble, reads."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    found = (getattr(module, "features", None) for module in modules)
    return [features for features in found if isinstance(features, Tensor)]


@contextmanager
def _removed(features: Sequence[Tensor]) -> Iterator[None]:
    """Set features to missing, and restore them afterwards."""
    kept = [part.clone() for part in features]
    try:
        for part in features:
            part.zero_()
        yield
    finally:
        for part, values in zip(features, kept, strict=True):
            part.copy_(values)
