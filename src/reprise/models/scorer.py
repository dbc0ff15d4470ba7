"""The contracts of models that score items: any scorer, a counting scorer, and a scorer by inner products.

Shape letters: B users, N targets, I items, D width. Column j of a score tensor belongs to item index j + 1.
`reprise.testing.contracts.check_scorer` verifies a scorer against these contracts.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from reprise.data.dataset import Part, SequenceDataset
from reprise.models.batch import Batch, Event
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.nn.cells import State


@runtime_checkable
class Scorer(Protocol):
    """A model that reads events one by one and scores all items.

    `state = advance(state, event)` after each event, and `scores(state, now)` at any time. The state holds all that
    the model knows about a user, as named tensors. Networks and baselines implement this contract, and evaluation
    needs nothing else.
    """

    @property
    def name(self) -> str:
        """Name of the model in tables and reports."""
        ...

    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` users without events."""
        ...

    def advance(self, state: State, event: Event) -> State:
        """Return the state after one more event of each user. A `PAD` item leaves the state of its row unchanged."""
        ...

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Return the scores of all items, s_BI; higher is better.

        `now_s_B` is the time of the request in seconds since 1970, if it is known.
        """
        ...

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Score all items at every target of a batch.

        Returns s_NI, in row-major order of `target_BT != PAD`, and the state after the batch. The result must equal
        that of reading the batch event by event: start from `state` (`initial_state` for fresh rows), call `advance`
        for each input and `scores` at each target.
        """
        ...


@runtime_checkable
class CountingScorer(Protocol):
    """A scorer that counts events and can count them again, up to another part of the dataset.

    Evaluation on the validation part needs counts without that part; evaluation on the test part includes it.
    """

    def count(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count the events before a part of the dataset, replacing any earlier counts."""
        ...


@runtime_checkable
class Fittable(Protocol):
    """The spec of a scorer that is fitted without gradients, in one pass over the dataset."""

    def fit(self, dataset: SequenceDataset) -> Scorer:
        """Return a scorer fitted to the events before the test part."""
        ...


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer whose scores are inner products of a query and item vectors, a few of them corrected.

    This form allows a fast top-k search over the item vectors.
    """

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Return the query vectors q_BD, such that `scores` is `corrections(state).apply(q_BD @ v_ID.T)`."""
        ...

    def corrections(self, state: State) -> ScoreCorrections:
        """Return the corrections of the inner products; `ScoreCorrections()` if there are none."""
        ...

    def query_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, ScoreCorrections, State]:
        """Return the queries q_ND at all targets of a batch, the corrections of their scores, and the new state."""
        ...

    def item_vectors(self) -> Tensor:
        """Return the item vectors, v_ID."""
        ...
