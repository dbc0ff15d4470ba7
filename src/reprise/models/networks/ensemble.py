"""Ensembles: several networks whose logits are averaged.

Shape letters: B rows, N targets, I items, D width of one member, M members.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from reprise.config import spec
from reprise.content.fitted_content import FittedContent
from reprise.data.dataset import Sizes
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.batch import Batch, Event, move_padding_last
from reprise.models.corrections.recent_events import RecentEvents
from reprise.models.encoder import select_state, strip_prefix
from reprise.models.networks.network_scorer import NetworkScorer, TargetQueries
from reprise.models.networks.recurrent import Recurrent
from reprise.nn.cells import State


@spec
class Ensemble:
    """Several networks of the same kind, trained separately with consecutive seeds, whose logits are averaged."""

    member: Any = Recurrent()
    """Spec of each member network."""
    members: Annotated[int, Field(ge=2)] = 3
    """M: number of members. Time, memory and state grow in proportion."""

    def __str__(self) -> str:
        return f"{self.members} of {self.member}"

    def single(self) -> Any:
        """Return the spec of one member.

        Raises:
            ConfigError: `member` is not the spec of a network, is an ensemble, or reads attributes of users.
        """
        if getattr(self.member, "users", ()):
            raise ConfigError(
                "an ensemble cannot read attributes of users; leave out `users`, or train one network"
            )
        if isinstance(self.member, type | Ensemble) or not hasattr(self.member, "build"):
            raise ConfigError(
                f"member must be the spec of one network, such as Recurrent(), got {self.member!r}"
            )
        return self.member

    def build(self, sizes: Sizes) -> "EnsembleScorer":
        """Build the members with initial weights for a dataset of these sizes.

        Raises:
            ConfigError: `member` is not the spec of a network, or is an ensemble.
        """
        built = [self.single().build(sizes) for _ in range(self.members)]
        if not all(isinstance(network, NetworkScorer) for network in built):
            raise ConfigError(
                f"member must build a NetworkScorer, such as SequenceModel; {self.member!r} builds a {type(built[0]).__name__}"
            )
        return EnsembleScorer(self, sizes, built)


class EnsembleScorer(NetworkScorer):
    """The mean of the logits of several networks, with one co-occurrence correction and one repeat head.

    The vectors and queries of all members are concatenated, [M D], so that search, export and serving treat the
    ensemble as one wide network: the sum over members of q . v / M is q . (v / M). The states of member m have the
    prefix `m.`. Members have no corrections of their own; those of the ensemble are fitted to the mean.
    """

    def __init__(self, spec: Any, sizes: Sizes, members: Sequence[NetworkScorer]) -> None:
        super().__init__(spec, sizes, members[0].cooccurrence, members[0].repeat_head)
        for member in members:
            member.cooccurrence = member.repeat_head = None
        self.members = nn.ModuleList(members)
        self.item_content = members[0].item_content
        self.size = sum(member.size for member in members)

    @property
    def scored_items(self) -> int:
        """Number of items that the members read and score."""
        return self.networks()[0].scored_items

    def add_content(self, content: FittedContent, features_IF: Tensor) -> None:
        """Let the items of all members be represented by their content too."""
        self.content = content
        for member in self.networks():
            member.add_content(content, features_IF)
        if self.cooccurrence is not None:
            self.cooccurrence.resize(len(features_IF))

    @property
    def reads(self) -> tuple[str, ...]:
        """Union of the inputs of all members and of the corrections."""
        window = self.recent_window
        kept = [] if window is None else [("item", True), ("time_s", window.times), ("kind", window.kinds)]
        recent = (name for name, use in kept if use)
        return tuple(dict.fromkeys([*recent, *(name for member in self.networks() for name in member.reads)]))

    def initial_state(self, batch: int) -> State:
        """Return the states of all members, and the empty windows of the corrections if there are any."""
        state = _join_states([member.initial_state(batch) for member in self.networks()])
        if (window := self.recent_window) is not None:
            state |= window.initial_state(batch, next(iter(state.values())).device)
        return state

    def forward(self, batch: Batch, state: State | None = None) -> TargetQueries:
        """Read a chunk with all members and return their queries at its targets."""
        start = self._start(batch, state)
        outputs = [member(batch, _member_state(start, m)) for m, member in enumerate(self.networks())]
        after = _join_states([output.state for output in outputs])
        recent: RecentEvents | None = None
        if (window := self.recent_window) is not None:
            events, _, seen_BT = move_padding_last(batch)
            recent, last_events = window.at_targets(start, events, seen_BT, batch.target_BT != PAD)
            after |= last_events
        query_ND = torch.cat([output.query_ND for output in outputs], dim=1)
        return TargetQueries(
            query_ND, recent, after, torch.stack([output.penalty for output in outputs]).mean()
        )

    def advance(self, state: State, event: Event) -> State:
        """Return the state after one more event of each row; `PAD` leaves a row unchanged."""
        after = _join_states(
            [member.advance(_member_state(state, m), event) for m, member in enumerate(self.networks())]
        )
        # the members handle `PAD` rows themselves
        return {**after, **select_state(self._recent(state, event), state, event.item_B != PAD)}

    def advance_vector(self, state: State, x_BD: Tensor, event: Event) -> State:
        """Return the state after an event whose item has the raw vectors `x_BD`, concatenated over the members."""
        vectors = torch.split(x_BD, [member.input_vectors().shape[1] for member in self.networks()], dim=1)
        after = _join_states(
            [
                member.advance_vector(_member_state(state, m), vectors[m], event)
                for m, member in enumerate(self.networks())
            ]
        )
        return {**after, **self._recent(state, event)}

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Return the query vectors q_BD, concatenated over the members."""
        return torch.cat(
            [member.query(_member_state(state, m), now_s_B) for m, member in enumerate(self.networks())],
            dim=1,
        )

    def item_vectors(self) -> Tensor:
        """Return the item vectors v_ID: inner products with them are the mean of the members' products."""
        return torch.cat([member.item_vectors() for member in self.networks()], dim=1) / len(self.members)

    def input_vectors(self) -> Tensor:
        """Return the raw input vectors, [I, M D]."""
        return torch.cat([member.input_vectors() for member in self.networks()], dim=1)

    def attention(self, state: State) -> Tensor | None:
        """Return the mean of the members' attention weights over the last W events, [B, W]; None without attention."""
        found = [member.attention(_member_state(state, m)) for m, member in enumerate(self.networks())]
        weights = [weight_BW for weight_BW in found if weight_BW is not None]
        return torch.stack(weights).mean(0) if weights else None

    def networks(self) -> list[NetworkScorer]:
        """Return the member networks."""
        return [member for member in self.members if isinstance(member, NetworkScorer)]

    def _recent(self, before: State, event: Event) -> State:
        """Return the windows of the corrections after an event; empty without a correction."""
        window = self.recent_window
        return {} if window is None else window.advance(before, event)


def _join_states(states: Sequence[State]) -> State:
    """Merge the states of all members; that of member m gets the prefix `m.`."""
    return {f"{m}.{name}": tensor for m, state in enumerate(states) for name, tensor in state.items()}


def _member_state(state: State, member: int) -> State:
    """Return the state of one member."""
    return strip_prefix(state, f"{member}.")
