"""What every network has in common, one or several side by side: a fold with weights that answers with vectors.

Shape letters: B rows, T steps, N targets, W events of a window, D width, I items.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor, nn

from reprise.data.dataset import Part, SequenceDataset, Sizes
from reprise.models.batch import Batch, Event
from reprise.models.cooccurrence.correction import CooccurrenceCorrection
from reprise.models.encoder import select_state
from reprise.models.sparse_logits import SparseLogits
from reprise.nn.cells import State


class TargetQueries(NamedTuple):
    """What a network knows at each target of a batch."""

    query_ND: Tensor
    """What is compared with the item vectors, in row-major order of `target_BT != PAD`."""
    recent_NW: Tensor | None
    """The last items before each target, where the network counts cooccurrence."""
    state: State
    """The state after the batch."""
    penalty: Tensor
    """A scalar for the loss, from the encoder."""


class NetworkScorer(nn.Module, ABC):
    """A `VectorScorer` with weights, and perhaps counted cooccurrence that are added to its logits.

    A state holds the last items, `recent`, where there are cooccurrence.
    """

    size: int
    """D: width of queries and item vectors."""

    def __init__(self, spec: Any, sizes: Sizes, cooccurrence: CooccurrenceCorrection | None) -> None:
        super().__init__()
        self.spec = spec
        self.sizes = sizes
        self.cooccurrence = cooccurrence
        self.learned_before: Part = "valid"
        """The events before this part were learned. Set where a run is opened."""
        self.learned_from: str | None = None
        """Fingerprint of the dataset that was learned; None: not known. Set where a run is opened."""

    @property
    def name(self) -> str:
        """How tables and reports call it."""
        return str(self.spec)

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """What it uses besides vectors: of an event `item`, `time_s`, `kind` and `value`, of a question `now_s`."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` users without events."""

    @abstractmethod
    def forward(self, batch: Batch, state: State | None = None) -> TargetQueries:
        """Read a chunk of each row, from `state` where the row continues, and look at its targets."""

    @abstractmethod
    def advance(self, state: State, event: Event) -> State:
        """The state after one more event of each row; `PAD` leaves a row as it is."""

    @abstractmethod
    def advance_vector(self, state: State, x_BD: Tensor, event: Event) -> State:
        """The state after an event whose item has the raw vector `x_BD`, known to the network or not."""

    @abstractmethod
    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """What is compared with the item vectors, q_BD."""

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """The vectors that score, v_ID."""

    @abstractmethod
    def input_vectors(self) -> Tensor:
        """The raw vectors that are read, [I, D]."""

    @abstractmethod
    def attention(self, state: State) -> Tensor | None:
        """How much the network looks at each of the last W events, newest last, [B, W]; None where it has no attention.

        The weights of a user sum to 1; those of a user without events are 0.
        """

    def count(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count what the network needs to know of the events before a part and does not learn by gradients."""
        if self.cooccurrence is not None and not self.cooccurrence.is_zero:
            self.cooccurrence.count(dataset, before)

    def corrections(self, state: State) -> SparseLogits | None:
        """What is added to the products, where the network has cooccurrence."""
        return self._count_codes(state.get("recent"))

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """The logits of all items, s_BI."""
        return _add_corrections(self.query(state, now_s_B) @ self.item_vectors().t(), self.corrections(state))

    def query_batch(
        self, batch: Batch, state: State | None = None
    ) -> tuple[Tensor, SparseLogits | None, State]:
        """q_ND at all targets of a batch, what is added to their products, and the state after it."""
        at = self(batch, state)
        return at.query_ND, self._count_codes(at.recent_NW), at.state

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """s_NI at all targets of a batch, and the state after it."""
        query_ND, extra, after = self.query_batch(batch, state)
        return _add_corrections(query_ND @ self.item_vectors().t(), extra), after

    def _count_codes(self, recent_NW: Tensor | None) -> SparseLogits | None:
        """What cooccurrence add after these items; None while nothing has been found that they are worth."""
        if self.cooccurrence is None or recent_NW is None or not self.cooccurrence.gain.any():
            return None
        extra: SparseLogits = self.cooccurrence(recent_NW)
        return extra

    def _start(self, batch: Batch, state: State | None) -> State:
        """The state each row of a batch begins with: the one it is given where it goes on, an empty one where it is fresh."""
        fresh = self.initial_state(len(batch.item_BT))
        if state is None or bool(batch.fresh_B.all()):
            return fresh
        return select_state(state, fresh, ~batch.fresh_B)


def _add_corrections(score_NI: Tensor, extra: SparseLogits | None) -> Tensor:
    if extra is not None:
        extra.add_to(score_NI)
    return score_NI
