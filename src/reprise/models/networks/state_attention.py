"""Attention on recurrence: a hidden state looks back at the states of the last events, and reads what happened there.

Shape letters: B rows, T steps, W events of the window, S = W + T, D width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from reprise.models.encoder import Encoded, Encoder, strip_prefix
from reprise.nn.attention import QUERY_BLOCK, last_window, sliding_window
from reprise.nn.cells import State, decay_args

Alignment = Literal["additive", "dot"]
INNER = "encoder."
"""What the names of the inner encoder's state begin with."""


class AttentiveEncoder(Encoder):
    """h_i + A c_i with c_i = sum over j of softmax_j(e_ij) x_j, over the last W events j <= i.

    `additive`: e_ij = v . tanh(Q h_i + K h_j) + d_{i-j} (Bahdanau et al. 2015, equation 6); `dot`: e_ij = (Q h_i) . h_j /
    sqrt(D) + d_{i-j} (Luong et al. 2015). d is a learned weight of each distance. What is read is the vector x_j of the
    event itself, so that an item of the window can be pointed at, as a repeated item wants. The window is bounded, so a
    step costs O(W), and it is part of the state.
    """

    def __init__(self, encoder: Encoder, size: int, window: int, alignment: Alignment) -> None:
        super().__init__()
        self.encoder = encoder
        self.size, self.window, self.alignment = size, window, alignment
        self.query = nn.Linear(size, size, bias=False)
        self.key = nn.Linear(size, size, bias=False) if alignment == "additive" else nn.Identity()
        self.energy = nn.Parameter(torch.randn(size) / size) if alignment == "additive" else None
        self.distance = nn.Parameter(torch.zeros(window))
        self.output = nn.Linear(size, size, bias=False)
        nn.init.eye_(self.output.weight)
        nn.init.normal_(self.query.weight, std=0.5 / size**0.5)

    def initial_state(self, batch: int) -> State:
        """The encoder's state and an empty window."""
        empty_BWD = self.distance.new_zeros(batch, self.window, self.size)
        filled_BW = self.distance.new_zeros(batch, self.window)
        return {
            **{f"{INNER}{name}": tensor for name, tensor in self.encoder.initial_state(batch).items()},
            "states": empty_BWD,
            "vectors": empty_BWD.clone(),
            "filled": filled_BW,
        }

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """A whole chunk; the window of the chunk before comes first."""
        encoded = self.encoder(x_BTD, strip_prefix(state, INNER), valid_BT, *decay_args(decay_BTD))
        hidden_BTD = encoded.hidden_BTD
        kind = hidden_BTD.dtype
        key_BSD = torch.cat([state["states"].to(kind), hidden_BTD], dim=1)
        value_BSD = torch.cat([state["vectors"].to(x_BTD.dtype), x_BTD], dim=1)
        filled_BS = torch.cat([state["filled"] > 0, valid_BT], dim=1)
        parts = [
            self._attend(
                hidden_BTD[:, at : at + QUERY_BLOCK], key_BSD[:, at:], value_BSD[:, at:], filled_BS[:, at:]
            )
            for at in range(0, hidden_BTD.shape[1], QUERY_BLOCK)
        ]
        after = {f"{INNER}{name}": tensor for name, tensor in encoded.state.items()}
        for name, rows_BSD in (("states", key_BSD), ("vectors", value_BSD), ("filled", filled_BS)):
            after[name] = last_window(rows_BSD, valid_BT, self.window).to(state[name].dtype)
        context_BTD = torch.cat(parts, dim=1)
        return Encoded(hidden_BTD + self.output(context_BTD), after, encoded.penalty)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """One event: it enters the window, the oldest one leaves it."""
        hidden_BD, inner = self.encoder.step(x_BD, strip_prefix(state, INNER), *decay_args(decay_BD))
        after = {f"{INNER}{name}": tensor for name, tensor in inner.items()}
        after["states"] = torch.cat([state["states"][:, 1:], hidden_BD.unsqueeze(1)], dim=1)
        after["vectors"] = torch.cat([state["vectors"][:, 1:], x_BD.unsqueeze(1)], dim=1)
        after["filled"] = torch.cat([state["filled"][:, 1:], torch.ones_like(state["filled"][:, :1])], dim=1)
        weight_BW = self.weights(hidden_BD, after)
        context_BD = (weight_BW.unsqueeze(-1) * after["vectors"]).sum(1)
        return hidden_BD + self.output(context_BD), after

    def weights(self, hidden_BD: Tensor, state: State) -> Tensor:
        """How much a hidden state looks at each event of the window in `state`, newest last, [B, W]: they sum to 1."""
        energy_BW = self._energies(hidden_BD.unsqueeze(1), state["states"]).squeeze(1) + self.distance
        return torch.softmax(energy_BW.masked_fill(state["filled"] <= 0, -torch.inf), dim=-1)

    def _attend(self, hidden_BTD: Tensor, key_BSD: Tensor, value_BSD: Tensor, filled_BS: Tensor) -> Tensor:
        """The contexts of some steps; step t sees places t + 1 .. t + W of what is given."""
        steps = hidden_BTD.shape[1]
        places = steps + self.window
        energy_BTS = self._energies(hidden_BTD, key_BSD[:, :places])
        place_TS, inside_TS = sliding_window(steps, self.window, hidden_BTD.device)
        bias_TS = self.distance[place_TS]
        # a padded step sees its own place, so that the softmax stays finite; what it gives has no meaning
        seen_BTS = inside_TS & (filled_BS[:, None, :places] | (place_TS == self.window - 1))
        energy_BTS = (energy_BTS.float() + bias_TS).masked_fill(~seen_BTS, -torch.inf)
        weight_BTS = torch.softmax(energy_BTS, dim=-1)
        return weight_BTS.to(value_BSD.dtype) @ value_BSD[:, :places]

    def _energies(self, hidden_BTD: Tensor, key_BSD: Tensor) -> Tensor:
        """e_ij without the weight of the distance, [B, T, S]."""
        query_BTD = self.query(hidden_BTD)
        if self.energy is None:
            energy_BTS: Tensor = query_BTD @ key_BSD.transpose(1, 2) * self.size**-0.5
        else:
            both_BTSD = query_BTD.unsqueeze(2) + self.key(key_BSD).unsqueeze(1)
            energy_BTS = torch.tanh(both_BTSD) @ self.energy
        return energy_BTS
