"""A served model: the loaded model with its version, user states and item overrides.

States belong to the weights that computed them. They are replaced together, so no result mixes two models.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reprise.errors import ArtefactError, DataError
from reprise.recommender.artefact.artefact import MANIFEST
from reprise.recommender.artefact.bounded_read import MAX_MANIFEST_BYTES, read_bounded
from reprise.recommender.artefact.signature import PublicKey
from reprise.recommender.exploration import Impressions
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommender import Recommender
from reprise.server.engine.item_overrides import ItemOverrides
from reprise.server.engine.state_builder import MAX_USER_EVENTS, StateBuilder
from reprise.server.engine.state_cache import LongHistoryError, StateCache
from reprise.server.store.event_store import EventStore
from reprise.server.store.records import User

WARM_UP_S = 2.0
"""Seconds that a new model may spend on building states of recent users before it replaces the old one."""
WARM_UP_EVENTS = 1_000
"""Maximum number of events of a user whose state is built before the swap. Longer histories are replayed when needed."""


@dataclass(frozen=True)
class ServedModel:
    """One loaded model with its user states and item overrides."""

    version: str
    """Model name and the first 12 hex digits of its manifest's SHA-256. Equal files have equal versions everywhere."""
    path: Path
    """Directory that the model was loaded from."""
    states: StateCache
    """User states, computed with this model."""
    items: ItemOverrides
    """Recommenders and rankers of this model, with the item columns of each tenant."""
    verify: PublicKey | None = None
    """Public key of the signature of this model, which its successors must have too; None: not needed."""
    impressions: dict[str, Impressions] = field(default_factory=lambda: defaultdict(Impressions))
    """Impressions of the items by tenant, for requests that explore. Counted by this process since it opened the model."""

    @classmethod
    def open(
        cls,
        path: Path,
        store: EventStore,
        max_state_bytes: int,
        max_user_events: int | None = MAX_USER_EVENTS,
        verify: PublicKey | None = None,
    ) -> "ServedModel":
        """Load a saved model, verify its checksums and run its self-check.

        Args:
            path: Directory of the saved model.
            store: Event log to build user states from.
            max_state_bytes: Maximum memory for cached user states.
            max_user_events: Maximum number of events of one user that a state is computed from (`StateBuilder`).
            verify: Public key of the signature that this model, and each that replaces it, must have; None: not needed.

        Raises:
            ArtefactError: a file is damaged, a self-check result differs from the one recorded at export, or the model cannot
                be used for another reason.
        """
        try:
            recommender, checksum = _load_checked(path, verify)
        except ArtefactError:
            raise
        except Exception as error:  # an edited or incomplete directory can raise any exception
            raise ArtefactError(
                f"{path} is not a model that can be served ({type(error).__name__}: {error}); "
                "write one with `reprise export`"
            ) from error
        ranker = recommender.ranker
        builder = StateBuilder(ranker.network, ranker.catalogue, recommender.history_rules, max_user_events)
        version = f"{recommender.name}-{checksum[:12]}"
        # the whole checksum: stored states of another model must never be taken for those of this one
        items = ItemOverrides(recommender)
        states = StateCache(builder, store, max_state_bytes, checksum, items)
        return cls(version, path, states, items, verify)

    def warm_up(self, users: Sequence[User], max_s: float = WARM_UP_S) -> None:
        """Build the states of users, in the given order, for at most `max_s` seconds.

        The states of the remaining users are built when they are first needed.
        """
        until_s = time.monotonic() + max_s
        for user in users:
            start_s = time.monotonic()
            if start_s > until_s:
                return
            with suppress(LongHistoryError):
                self.states.current(user, max_new_events=WARM_UP_EVENTS)
            # pause for as long as the work took: the old model, which still serves, gets half of the processor time
            time.sleep(time.monotonic() - start_s)


def _load_checked(path: Path, verify: PublicKey | None) -> tuple[Recommender, str]:
    """Load and check a saved model; return it with the SHA-256 of its manifest."""
    manifest = _manifest_bytes(path)
    recommender = Recommender.load(path, verify=verify)
    if _manifest_bytes(path) != manifest:
        raise ArtefactError(f"{path} was replaced while it was being read; load it again")
    recommender.self_check()
    _encode_one_item(recommender.ranker)
    return recommender, hashlib.sha256(manifest).hexdigest()


def _encode_one_item(ranker: Ranker) -> None:
    """Encode an item if the model reads content. The first encoding imports scikit-learn, which takes about a second.

    Without it, the first request that adds an item would wait for this import.
    """
    if ranker.content is not None and len(ranker.catalogue.table):
        catalogue = ranker.catalogue
        # the item may name the file of an image or a sound that is not on this machine
        with suppress(DataError):
            ranker.content.vectors([catalogue.item(catalogue.item_id(1))])


def _manifest_bytes(path: Path) -> bytes:
    """Return the bytes of the manifest; empty if it cannot be read, for which `Recommender.load` has a better message."""
    try:
        return read_bounded(path / MANIFEST, MAX_MANIFEST_BYTES)
    except (OSError, ArtefactError):
        return b""
