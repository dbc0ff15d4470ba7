"""The content of items in a run: it is fitted once, stored in the run directory, and added to the network.

Shape letters: I items, F features.
"""

import json
from pathlib import Path

import torch

from reprise.class_names import Trust
from reprise.content.fitted_content import FittedContent
from reprise.content.fitting_content import fit_content
from reprise.data.dataset import SequenceDataset
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.checkpoint import read_tensors, write_tensors

JSON = "content"
"""Metadata key of the description of the fitted columns."""


def add_item_content(
    model: NetworkScorer, dataset: SequenceDataset, file: Path, *, trusted: Trust = False
) -> None:
    """Add the content of items to a network whose spec reads it, fitted before or now.

    Args:
        model: The network, or an ensemble of such networks.
        dataset: Dataset whose item table has the content.
        file: File of the fitted content; if it does not exist, the content is fitted on the items of the training part.
        trusted: Whether encoders outside this package may be imported.

    Raises:
        ConfigError: A column of the spec does not exist, or cannot be read.
        DataError: The item table has no column that describes items.
    """
    if model.item_content is None:
        return
    fitted = _load(file, trusted) if file.exists() else fit_content(model.item_content.columns, dataset)
    model.add_content(fitted, torch.from_numpy(fitted.encode(dataset.table)))


def save_item_content(model: NetworkScorer, file: Path) -> None:
    """Write the fitted content of a network, if it reads the content of items and the file does not exist."""
    if model.content is not None and not file.exists():
        tensors = {name: torch.from_numpy(array.copy()) for name, array in model.content.to_tensors().items()}
        write_tensors(file, tensors, {JSON: json.dumps(model.content.to_json())})


def _load(file: Path, trusted: Trust) -> FittedContent:
    tensors, metadata = read_tensors(file)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return FittedContent.restore(json.loads(metadata[JSON]), arrays, trusted=trusted)
