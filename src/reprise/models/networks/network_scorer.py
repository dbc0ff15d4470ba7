"""The base class of networks as scorers: a recurrent state, query vectors and item vectors.

Shape letters: B rows, T steps, N targets, W events of a window, D width, I items.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reprise.content.fitted_content import FittedContent
from reprise.data.dataset import Part, SequenceDataset, Sizes
from reprise.data.popular_items import PopularItems
from reprise.data.public_items import PublicFacts
from reprise.forecast.forecast_heads import ForecastHeads
from reprise.models.batch import Batch, Event
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.recent_events import RecentEvents, RecentEventsWindow
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.corrections.score_corrections import ScoreCorrections, score_corrections
from reprise.models.encoder import select_state
from reprise.models.items.content_embeddings import ItemContent
from reprise.nn.cells import State


class TargetQueries(NamedTuple):
    """The output of a network for one batch."""

    query_ND: Tensor
    """Query vector of each target, in row-major order of `target_BT != PAD`."""
    recent: RecentEvents | None
    """Last events before each target; None without a correction of the logits."""
    state: State
    """State after the batch."""
    penalty: Tensor
    """Scalar that the encoder adds to the loss."""


class NetworkScorer(nn.Module, ABC):
    """A `VectorScorer` with weights and optional corrections of its logits.

    With a correction the state contains the last items, `recent`, and their times and kinds if the repeat head reads them.
    """

    size: int
    """D: width of queries and item vectors."""

    def __init__(
        self,
        spec: Any,
        sizes: Sizes,
        cooccurrence: CooccurrenceCorrection | None,
        repeat_head: RepeatHead | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.sizes = sizes
        self.cooccurrence = cooccurrence
        self.repeat_head = repeat_head
        self.forecast: ForecastHeads | None = None
        """Heads for the kind and the time of the next event. Set where a run is opened; the scores do not depend on them."""
        self.item_content: ItemContent | None = None
        """How the content of items is read; None: not at all."""
        self.content: FittedContent | None = None
        """The fitted content, once it is added; it encodes new items."""
        self.public_facts: PublicFacts | None = None
        """What is public of a training with differential privacy; None: trained without it. Set where a run is opened."""
        self.left_out_counts = False
        """Whether the network had a co-occurrence correction that was removed. Set by `load_without_counts`."""
        self.learned_before: Part = "valid"
        """The events before this part were learned. Set where a run is opened."""
        self.learned_from: str | None = None
        """Fingerprint of the dataset that was learned; None: not known. Set where a run is opened."""

    def __repr__(self) -> str:
        weights = sum(parameter.numel() for parameter in self.parameters())
        return f"{type(self).__name__}({self.name!r}, {weights:,} weights)"

    @property
    def name(self) -> str:
        """Name of the model in tables and reports."""
        return str(self.spec)

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the inputs in use besides vectors.

        Of an event `item`, `time_s`, `kind` and `value`, and of a request `now_s`. The export gives the network these
        inputs only.
        """

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` users without events."""

    @abstractmethod
    def forward(self, batch: Batch, state: State | None = None) -> TargetQueries:
        """Read a chunk of each row and return the queries at its targets.

        Rows that are not fresh continue from `state`.
        """

    @abstractmethod
    def advance(self, state: State, event: Event) -> State:
        """Return the state after one more event of each row; `PAD` leaves a row unchanged."""

    @abstractmethod
    def advance_vector(self, state: State, x_BD: Tensor, event: Event) -> State:
        """Return the state after an event whose item has the raw vector `x_BD`; the item may be a cold one."""

    @abstractmethod
    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Return the query vectors, q_BD."""

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """Return the item vectors that queries are compared with, v_ID."""

    @abstractmethod
    def input_vectors(self) -> Tensor:
        """Return the raw item vectors that are inputs of the network, [I, D]."""

    @abstractmethod
    def attention(self, state: State) -> Tensor | None:
        """Return the attention weights of the last W events, newest last, [B, W]; None without attention.

        The weights of a user sum to 1; those of a user without events are 0.
        """

    @property
    def query_width(self) -> int:
        """Width of the query vectors."""
        with torch.no_grad():
            return int(self.query(self.initial_state(1)).shape[1])

    def add_users(self, dataset: SequenceDataset) -> None:
        """Let queries depend on the attributes of the users of a dataset, if the network reads them.

        Raises:
            ConfigError: A column does not exist or cannot be read.
            DataError: The dataset has no user table.
        """

    def count(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count the co-occurrences in the events before a part, if the network has a fitted correction."""
        if self.cooccurrence is not None and not self.cooccurrence.is_zero:
            self.cooccurrence.count(dataset.scoring(self.scored_items), before)

    @abstractmethod
    def add_content(self, content: FittedContent, features_IF: Tensor) -> None:
        """Let the items be represented by their content too; for a network with `item_content`.

        Args:
            content: How items are encoded; it becomes `self.content`.
            features_IF: Content features of all items of the vocabulary, warm ones first.
        """

    @property
    def scored_items(self) -> int:
        """Number of items that the network reads and scores."""
        return self.sizes.items

    @property
    def has_corrections(self) -> bool:
        """Whether the network has a correction of its logits, fitted or not."""
        return self.cooccurrence is not None or self.repeat_head is not None

    @property
    def recent_window(self) -> RecentEventsWindow | None:
        """What the state keeps of the last events for the corrections; None without any."""
        if not self.has_corrections:
            return None
        head = self.repeat_head
        return RecentEventsWindow(
            max(
                0 if self.cooccurrence is None else self.cooccurrence.window,
                0 if head is None else head.window,
            ),
            times=head is not None and head.time is not None,
            kinds=head is not None and head.kind is not None,
        )

    def released_popularity(self) -> PopularItems | None:
        """Return the popularity of items that was released with the weights; None: it is counted from the dataset."""
        return None

    def drop_zero_corrections(self) -> None:
        """Remove the corrections that were not fitted or not kept, so that the state holds no events for them."""
        if self.cooccurrence is not None and self.cooccurrence.is_zero:
            self.cooccurrence = None
        if self.repeat_head is not None and self.repeat_head.is_zero:
            self.repeat_head = None

    def corrections(self, state: State) -> ScoreCorrections:
        """Return the corrections of the scores of users in these states."""
        return self._corrections(RecentEvents.of_state(state) if self.has_corrections else None)

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Return the logits of all items, s_BI."""
        return self.corrections(state).apply(self.query(state, now_s_B) @ self.item_vectors().t())

    def query_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, ScoreCorrections, State]:
        """Return q_ND at all targets of a batch, the corrections of their scores, and the state after the batch."""
        output = self(batch, state)
        return output.query_ND, self._corrections(output.recent), output.state

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Return s_NI at all targets of a batch, and the state after the batch."""
        query_ND, corrections, after = self.query_batch(batch, state)
        return corrections.apply(query_ND @ self.item_vectors().t()), after

    def _corrections(self, recent: RecentEvents | None) -> ScoreCorrections:
        """Return the corrections of the scores after some windows."""
        if recent is None:
            return ScoreCorrections()
        return score_corrections(recent, self.cooccurrence, self.repeat_head)

    def _start(self, batch: Batch, state: State | None) -> State:
        """Return the state before the batch: `state` for rows that continue, an empty state for fresh rows."""
        fresh = self.initial_state(len(batch.item_BT))
        if state is None or bool(batch.fresh_B.all()):
            return fresh
        return select_state(state, fresh, ~batch.fresh_B)
