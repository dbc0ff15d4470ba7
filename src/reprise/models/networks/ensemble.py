"""Several networks side by side, whose logits are averaged.

Shape letters: B rows, N targets, I items, D width of one member, M members.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.batch import Batch, Event, move_padding_last
from reprise.models.cooccurrence.correction import append_item, empty_windows, target_windows
from reprise.models.encoder import select_state, strip_prefix
from reprise.models.networks.network_scorer import NetworkScorer, TargetQueries
from reprise.models.networks.recurrent import Recurrent
from reprise.nn.cells import State


@spec
class Ensemble:
    """Several networks of one kind that learn apart, from seeds that follow each other, and answer together."""

    member: Any = Recurrent()
    """The spec of each network."""
    members: Annotated[int, Field(ge=2)] = 3
    """M: how many there are. Time, memory and state grow with it."""

    def __str__(self) -> str:
        return f"{self.members} of {self.member}"

    def single(self) -> Any:
        """The spec of one member.

        Raises:
            ConfigError: it is no network, or is an ensemble itself.
        """
        if isinstance(self.member, type | Ensemble) or not hasattr(self.member, "build"):
            raise ConfigError(
                f"member must be the spec of one network, such as Recurrent(), got {self.member!r}"
            )
        return self.member

    def build(self, sizes: Sizes) -> "EnsembleScorer":
        """The members, with fresh weights, for data of these sizes.

        Raises:
            ConfigError: `member` is no network, or is an ensemble itself.
        """
        built = [self.single().build(sizes) for _ in range(self.members)]
        if not all(isinstance(network, NetworkScorer) for network in built):
            raise ConfigError(
                f"member must build a LearnedScorer, such as SequenceModel; {self.member!r} builds a {type(built[0]).__name__}"
            )
        return EnsembleScorer(self, sizes, built)


class EnsembleScorer(NetworkScorer):
    """The mean of the logits of several networks, to which counted cooccurrence are added.

    Vectors and queries of all members lie beside each other, [M D], so that an index, an artefact and a live state are those of
    one wide network: the sum over members of q . v / M is q . (v / M). The states of member m are called `m.` and so on.
    Members have no cooccurrence here; those of the ensemble are fitted to the mean.
    """

    def __init__(self, spec: Any, sizes: Sizes, members: Sequence[NetworkScorer]) -> None:
        super().__init__(spec, sizes, members[0].cooccurrence)
        for member in members:
            member.cooccurrence = None
        self.members = nn.ModuleList(members)
        self.size = sum(member.size for member in members)

    @property
    def reads(self) -> tuple[str, ...]:
        """What any of them uses, and `item` for the cooccurrence."""
        counted = ("item",) if self.cooccurrence is not None else ()
        return tuple(
            dict.fromkeys([*counted, *(name for member in self._networks() for name in member.reads)])
        )

    def initial_state(self, batch: int) -> State:
        """The states of all members, and the last items where cooccurrence are counted."""
        state = _join_states([member.initial_state(batch) for member in self._networks()])
        if self.cooccurrence is not None:
            device = next(iter(state.values())).device
            state["recent"] = empty_windows(batch, self.cooccurrence.window, device)
        return state

    def forward(self, batch: Batch, state: State | None = None) -> TargetQueries:
        """All members read the chunk and look at its targets."""
        start = self._start(batch, state)
        found = [member(batch, _member_state(start, m)) for m, member in enumerate(self._networks())]
        after = _join_states([at.state for at in found])
        recent_NW = None
        if self.cooccurrence is not None:
            events, _, seen_BT = move_padding_last(batch)
            wanted_BT = batch.target_BT != PAD
            recent_NW, after["recent"] = target_windows(start["recent"], events.item_BT, seen_BT, wanted_BT)
        query_ND = torch.cat([at.query_ND for at in found], dim=1)
        return TargetQueries(query_ND, recent_NW, after, torch.stack([at.penalty for at in found]).mean())

    def advance(self, state: State, event: Event) -> State:
        """The state after one more event of each row; `PAD` leaves a row as it is."""
        after = _join_states(
            [member.advance(_member_state(state, m), event) for m, member in enumerate(self._networks())]
        )
        # the members have kept theirs
        return {**after, **select_state(self._recent(state, event), state, event.item_B != PAD)}

    def advance_vector(self, state: State, x_BD: Tensor, event: Event) -> State:
        """The state after an event whose item has the raw vectors `x_BD`, those of all members side by side."""
        own = torch.split(x_BD, [member.input_vectors().shape[1] for member in self._networks()], dim=1)
        after = _join_states(
            [
                member.advance_vector(_member_state(state, m), own[m], event)
                for m, member in enumerate(self._networks())
            ]
        )
        return {**after, **self._recent(state, event)}

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """What is compared with the item vectors, q_BD, those of all members side by side."""
        return torch.cat(
            [member.query(_member_state(state, m), now_s_B) for m, member in enumerate(self._networks())],
            dim=1,
        )

    def item_vectors(self) -> Tensor:
        """The vectors that score, v_ID: a product with them is the mean of the members' products."""
        return torch.cat([member.item_vectors() for member in self._networks()], dim=1) / len(self.members)

    def input_vectors(self) -> Tensor:
        """The raw vectors that are read, [I, M D]."""
        return torch.cat([member.input_vectors() for member in self._networks()], dim=1)

    def attention(self, state: State) -> Tensor | None:
        """The mean of the members' weights of the last W events, [B, W]; None where they have no attention."""
        found = [member.attention(_member_state(state, m)) for m, member in enumerate(self._networks())]
        weights = [weight_BW for weight_BW in found if weight_BW is not None]
        return torch.stack(weights).mean(0) if weights else None

    def _networks(self) -> list[NetworkScorer]:
        return [member for member in self.members if isinstance(member, NetworkScorer)]

    def _recent(self, before: State, event: Event) -> State:
        """The last items after an event, where cooccurrence are counted."""
        return {} if self.cooccurrence is None else {"recent": append_item(before["recent"], event.item_B)}


def _join_states(states: Sequence[State]) -> State:
    """The states of all members in one, that of member m under `m.`."""
    return {f"{m}.{name}": tensor for m, state in enumerate(states) for name, tensor in state.items()}


def _member_state(state: State, member: int) -> State:
    """The state of one member."""
    return strip_prefix(state, f"{member}.")
