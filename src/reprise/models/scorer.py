"""The contracts of everything that scores items: networks, baselines, and what a user brings.

Shape letters: B users, N targets, I items, D width. Column j of a score tensor belongs to item index j + 1.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from reprise.data.dataset import Part, SequenceDataset
from reprise.models.batch import Batch, Event
from reprise.models.sparse_logits import SparseLogits
from reprise.nn.cells import State


@runtime_checkable
class Scorer(Protocol):
    """A fold over events: `state = advance(state, event)`; `scores = f(state, now)`."""

    @property
    def name(self) -> str:
        """How tables and reports call it."""
        ...

    def initial_state(self, batch: int) -> State:
        """The state of `batch` users without events."""
        ...

    def advance(self, state: State, event: Event) -> State:
        """The state after one more event of each user. A `PAD` item leaves its row unchanged."""
        ...

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Scores of all items, s_BI, higher is better; `now_s_B` is the moment of asking."""
        ...

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Scores at all targets of a batch, s_NI in row-major order of `target_BT != PAD`, and the state after it.

        Equals the fold: `advance` over the inputs from `state` (fresh rows from `initial_state`), `scores` at each target.
        """
        ...


@runtime_checkable
class CountingScorer(Protocol):
    """A scorer that counts events and can count others: before the validation part, to be asked about that part."""

    def count(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count the events before a part."""
        ...


@runtime_checkable
class Fittable(Protocol):
    """The spec of a scorer that needs no gradients: all it knows is counted, or fitted, in one go."""

    def fit(self, dataset: SequenceDataset) -> Scorer:
        """A scorer that knows the events before the test part."""
        ...


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer whose scores are inner products and perhaps a few corrections: this is what an index can search."""

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """q_BD, such that `scores = q_BD @ v_ID.T`, and the corrections."""
        ...

    def corrections(self, state: State) -> SparseLogits | None:
        """What is added to some of the products; None: nothing."""
        ...

    def query_batch(
        self, batch: Batch, state: State | None = None
    ) -> tuple[Tensor, SparseLogits | None, State]:
        """q_ND at all targets of a batch, what is added to their products, and the state after it."""
        ...

    def item_vectors(self) -> Tensor:
        """v_ID."""
        ...
