"""What a saved model may hold of the dataset of a network."""

from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.data.public_items import without_events
from reprise.models.networks.network_scorer import NetworkScorer

PRIVACY = "privacy"
"""Key of the statement of differential privacy in the metadata of a saved model, as in its model card."""


def published_dataset(network: object, dataset: SequenceDataset) -> tuple[SequenceDataset, dict[str, Any]]:
    """Return the dataset that an export may read, and the statement of differential privacy for its metadata, or {}.

    After private training the dataset has no events, so no part of the export can read one.

    Raises:
        ConfigError: The network was trained privately, and the dataset does not have its public list of items.
    """
    facts = network.public_facts if isinstance(network, NetworkScorer) else None
    return (dataset, {}) if facts is None else (without_events(dataset, facts), {PRIVACY: facts.statement})
