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
HIDDEN = -1e30
"""Energy of a position that a step does not see; its weight is 0."""


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
        self.scale = size**-0.5 if alignment == "dot" else 1.0
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
        rows = {"states": hidden_BTD, "vectors": x_BTD, "filled": valid_BT}
        # rows usually begin with their first event, and then the window before the chunk is empty and costs nothing
        past = self.window if bool((state["filled"] > 0).any()) else 0
        if past:
            rows = {name: torch.cat([state[name].to(row.dtype), row], dim=1) for name, row in rows.items()}
        query_BTD = self.query(hidden_BTD)
        contexts = [
            self._attend(query_BTD, rows, past, slice(t, t + QUERY_BLOCK))
            for t in range(0, hidden_BTD.shape[1], QUERY_BLOCK)
        ]
        after = {f"{INNER}{name}": tensor for name, tensor in encoded.state.items()}
        for name, row in rows.items():
            after[name] = last_window(row, valid_BT, self.window).to(state[name].dtype)
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
        query_B1D = self.query(hidden_BD).unsqueeze(1)
        energy_BW = self._energies(query_B1D, state["states"]).squeeze(1) * self.scale + self.distance
        return torch.softmax(energy_BW.masked_fill(state["filled"] <= 0, -torch.inf), dim=-1)

    def _attend(self, query_BTD: Tensor, rows: State, past: int, block: slice) -> Tensor:
        """Return the contexts for a block of steps; `rows` begin with `past` positions before the chunk."""
        query_BTD = query_BTD[:, block]
        steps = query_BTD.shape[1]
        position_TS, inside_TS = sliding_window(steps, self.window, query_BTD.device)
        # of the positions that `sliding_window` counts, the first is outside every window, and `rows` may lack others
        first = past + block.start - self.window
        skipped = max(1, -first)
        keys = slice(first + skipped, first + self.window + steps)
        bias_TS = self.distance[position_TS[:, skipped:]].masked_fill(~inside_TS[:, skipped:], HIDDEN)
        # a padded step has no filled position: a finite value gives it equal weights instead of NaN, and its output
        # is undefined and not used
        bias_BTS = bias_TS + torch.where(rows["filled"][:, None, keys], 0.0, HIDDEN)
        energy_BTS = self._energies(query_BTD, rows["states"][:, keys])
        weight_BTS = torch.softmax(torch.add(bias_BTS, energy_BTS, alpha=self.scale), dim=-1)
        value_BSD = rows["vectors"][:, keys]
        return weight_BTS.to(value_BSD.dtype) @ value_BSD

    def _energies(self, query_BTD: Tensor, key_BSD: Tensor) -> Tensor:
        """Return e_ij before its scale and without the bias of the distance, [B, T, S]."""
        if self.energy is None:
            energy_BTS: Tensor = query_BTD @ key_BSD.transpose(1, 2)
        else:
            both_BTSD = query_BTD.unsqueeze(2) + self.key(key_BSD).unsqueeze(1)
            energy_BTS = torch.tanh(both_BTSD) @ self.energy
        return energy_BTS
