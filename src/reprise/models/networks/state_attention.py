"""Attention on top of a recurrent encoder: a hidden state attends to the states of the last events.

Shape letters: B rows, T steps, W events of the window, S = W + T positions (the window before the chunk, then the
chunk), D width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from reprise.models.encoder import Encoded, Encoder, strip_prefix
from reprise.nn.attention import QUERY_BLOCK, last_window, sliding_window
from reprise.nn.cells import State, decay_args

Alignment = Literal["additive", "dot"]
INNER = "encoder."
"""Prefix of the inner encoder's entries in the state."""


class AttentiveEncoder(Encoder):
    """Adds an attention context to the hidden states of an encoder: h_i + A c_i, over the last W events.

    c_i = sum over j of softmax_j(e_ij) x_j. `additive`: e_ij = v . tanh(Q h_i + K h_j) + d_{i-j} (Bahdanau et al.
    2015, equation 6). `dot`: e_ij = (Q h_i) . h_j / sqrt(D) + d_{i-j} (Luong et al. 2015). d is a learned bias for
    each distance. The attention reads the input vectors x_j of the events, not their states, so that it can point at
    an item of the window, which predicts repeated items. The window is bounded and part of the state, so a step costs
    O(W).
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
        """Return the state of the inner encoder and an empty window."""
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
        """Encode a chunk; its steps also attend to the window before the chunk."""
        encoded = self.encoder(x_BTD, strip_prefix(state, INNER), valid_BT, *decay_args(decay_BTD))
        hidden_BTD = encoded.hidden_BTD
        key_BSD = torch.cat([state["states"].to(hidden_BTD.dtype), hidden_BTD], dim=1)
        value_BSD = torch.cat([state["vectors"].to(x_BTD.dtype), x_BTD], dim=1)
        filled_BS = torch.cat([state["filled"] > 0, valid_BT], dim=1)
        contexts = [
            self._attend(
                hidden_BTD[:, t : t + QUERY_BLOCK], key_BSD[:, t:], value_BSD[:, t:], filled_BS[:, t:]
            )
            for t in range(0, hidden_BTD.shape[1], QUERY_BLOCK)
        ]
        after = {f"{INNER}{name}": tensor for name, tensor in encoded.state.items()}
        for name, rows_BSD in (("states", key_BSD), ("vectors", value_BSD), ("filled", filled_BS)):
            after[name] = last_window(rows_BSD, valid_BT, self.window).to(state[name].dtype)
        context_BTD = torch.cat(contexts, dim=1)
        return Encoded(hidden_BTD + self.output(context_BTD), after, encoded.penalty)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one event: it enters the window, and the oldest one leaves it."""
        hidden_BD, inner = self.encoder.step(x_BD, strip_prefix(state, INNER), *decay_args(decay_BD))
        after = {f"{INNER}{name}": tensor for name, tensor in inner.items()}
        after["states"] = torch.cat([state["states"][:, 1:], hidden_BD.unsqueeze(1)], dim=1)
        after["vectors"] = torch.cat([state["vectors"][:, 1:], x_BD.unsqueeze(1)], dim=1)
        after["filled"] = torch.cat([state["filled"][:, 1:], torch.ones_like(state["filled"][:, :1])], dim=1)
        weight_BW = self.weights(hidden_BD, after)
        context_BD = (weight_BW.unsqueeze(-1) * after["vectors"]).sum(1)
        return hidden_BD + self.output(context_BD), after

    def weights(self, hidden_BD: Tensor, state: State) -> Tensor:
        """Return the attention weights of a hidden state over the window in `state`, [B, W].

        The newest event is last, and the weights of a row sum to 1.
        """
        energy_BW = self._energies(hidden_BD.unsqueeze(1), state["states"]).squeeze(1) + self.distance
        return torch.softmax(energy_BW.masked_fill(state["filled"] <= 0, -torch.inf), dim=-1)

    def _attend(self, hidden_BTD: Tensor, key_BSD: Tensor, value_BSD: Tensor, filled_BS: Tensor) -> Tensor:
        """Return the contexts for a block of steps; step t sees the positions t + 1 .. t + W of those passed in."""
        steps = hidden_BTD.shape[1]
        length = steps + self.window
        energy_BTS = self._energies(hidden_BTD, key_BSD[:, :length])
        position_TS, inside_TS = sliding_window(steps, self.window, hidden_BTD.device)
        bias_TS = self.distance[position_TS]
        # A padded step has no filled position. It sees its own, so that the softmax is not taken over an empty
        # set; its output is undefined and not used.
        visible_BTS = inside_TS & (filled_BS[:, None, :length] | (position_TS == self.window - 1))
        energy_BTS = (energy_BTS.float() + bias_TS).masked_fill(~visible_BTS, -torch.inf)
        weight_BTS = torch.softmax(energy_BTS, dim=-1)
        return weight_BTS.to(value_BSD.dtype) @ value_BSD[:, :length]

    def _energies(self, hidden_BTD: Tensor, key_BSD: Tensor) -> Tensor:
        """Return e_ij without the bias of the distance, [B, T, S]."""
        query_BTD = self.query(hidden_BTD)
        if self.energy is None:
            energy_BTS: Tensor = query_BTD @ key_BSD.transpose(1, 2) * self.size**-0.5
        else:
            both_BTSD = query_BTD.unsqueeze(2) + self.key(key_BSD).unsqueeze(1)
            energy_BTS = torch.tanh(both_BTSD) @ self.energy
        return energy_BTS
