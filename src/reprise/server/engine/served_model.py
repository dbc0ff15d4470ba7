"""A model as it is served: opened, checked, with a version, its states, and what callers say of its items.

States and weights live and go together, so no answer can mix those of two models.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reprise.errors import ArtefactError
from reprise.recommender.artefact.artefact import MANIFEST
from reprise.recommender.recommender import Recommender
from reprise.recommender.self_check import check
from reprise.server.engine.item_overrides import ItemOverrides
from reprise.server.engine.state_cache import StateBuilder, StateCache
from reprise.server.store.event_store import EventStore
from reprise.server.store.records import User

WARM_S = 2.0
"""How long a new model may fold the pasts of those who asked last, before it takes over."""


@dataclass(frozen=True)
class ServedModel:
    """One model with everything that belongs to it."""

    version: str
    """Its name and the beginning of its checksum: the same files have the same version everywhere."""
    path: Path
    states: StateCache
    items: ItemOverrides

    @classmethod
    def open(cls, path: Path, store: EventStore, most_bytes: int) -> "ServedModel":
        """Load a saved model, verify its files, and ask it the questions whose answers it came with.

        Raises:
            ArtefactError: a file is damaged, or an answer is not what it was when the model was exported.
        """
        recommender, seal = _checked(path)
        ranker = recommender.ranker
        states = StateCache(StateBuilder(ranker.network, ranker.catalogue), store, most_bytes)
        return cls(f"{recommender.name}-{seal[:12]}", path, states, ItemOverrides(recommender))

    def warm(self, users: Sequence[User], most_s: float = WARM_S) -> None:
        """Fold the pasts of these users, the first first, as far as the time allows. The rest are folded when they ask."""
        until_s = time.monotonic() + most_s
        for user in users:
            start_s = time.monotonic()
            if start_s > until_s:
                return
            self.states.current(user)
            time.sleep(time.monotonic() - start_s)  # the old model answers meanwhile, with half of the time


def _checked(path: Path) -> tuple[Recommender, str]:
    """The recommender of a directory that is sound, and the checksum of its manifest."""
    before = _manifest(path)
    recommender = Recommender.load(path)
    if _manifest(path) != before:
        raise ArtefactError(f"{path} was replaced while it was read; serve it again")
    check(recommender)
    return recommender, hashlib.sha256(before).hexdigest()


def _manifest(path: Path) -> bytes:
    """Its bytes; none where there is no such file, about which the recommender has better words."""
    try:
        return (path / MANIFEST).read_bytes()
    except OSError:
        return b""
