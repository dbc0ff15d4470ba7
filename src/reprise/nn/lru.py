"""The linear recurrent unit: a state of complex numbers that decay and turn.

Shape letters: B rows, T steps, D width, E = 2 D: the real and the imaginary part of each number side by side.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from reprise.nn.cells import Cell, State, state_at_end
from reprise.nn.linear_scan import scan


class LRU(Cell):
    """The linear recurrent unit (Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences").

    l = exp(-exp(nu) + i exp(theta)); s_t = l s_{t-1} + sqrt(1 - |l|^2) B x_t, complex; h_t = Re(C s_t) + d x_t.
    With `keep`, s_t = l keep_t s_{t-1} + ... .
    """

    linear = True
    decays = True
    RING = (0.5, 0.99)
    """Initial |l|: uniform over the ring between these radii, half-lives from one event to about seventy."""
    ANGLE = 2 * math.pi
    """Initial angles of l: uniform from 0 to this."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        inner, outer = (radius**2 for radius in self.RING)
        self.nu = nn.Parameter(torch.log(-0.5 * torch.log(inner + torch.rand(size) * (outer - inner))))
        # 1 - rand lies in (0, 1], and so its logarithm is finite
        self.theta = nn.Parameter(torch.log(self.ANGLE * (1 - torch.rand(size))))
        self.input = nn.Linear(size, 2 * size, bias=False)
        self.output = nn.Linear(2 * size, size, bias=False)
        self.skip = nn.Parameter(torch.randn(size))
        nn.init.normal_(self.input.weight, std=(2 * size) ** -0.5)
        nn.init.normal_(self.output.weight, std=size**-0.5)

    def initial_state(self, batch: int) -> State:
        return {name: self.nu.new_zeros(batch, self.size) for name in ("re", "im")}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        radius_D = self._radius()
        b_BTE = self._normalised_input(x_BTD)
        a_BTE = _both(radius_D if keep_BTD is None else radius_D * keep_BTD).expand_as(b_BTE)
        before_BE = torch.stack([state["re"], state["im"]], dim=-1).flatten(1)
        s_BTE = turning_scan(a_BTE, self.theta.exp(), b_BTE, before_BE)
        re_BD, im_BD = _parts(state_at_end(s_BTE, before_BE, valid_BT))
        return self.output(s_BTE) + self.skip * x_BTD, {"re": re_BD, "im": im_BD}

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        radius, angle_D = self._radius(), self.theta.exp()
        radius = radius if keep_BD is None else radius * keep_BD
        l_re, l_im = radius * angle_D.cos(), radius * angle_D.sin()
        b_re, b_im = _parts(self._normalised_input(x_BD))
        re_BD = l_re * state["re"] - l_im * state["im"] + b_re
        im_BD = l_re * state["im"] + l_im * state["re"] + b_im
        s_BE = torch.stack([re_BD, im_BD], dim=-1).flatten(1)
        return self.output(s_BE) + self.skip * x_BD, {"re": re_BD, "im": im_BD}

    def _radius(self) -> Tensor:
        return torch.exp(-self.nu.exp())

    def _normalised_input(self, x: Tensor) -> Tensor:
        """sqrt(1 - |l|^2) B x, [..., E]; the root is put into B, which is smaller than a chunk."""
        # the floor keeps the gradient of the root finite where |l| is 1
        root_D = torch.sqrt((1 - self._radius().square()).clamp(min=1e-6))
        return linear(x, self.input.weight * _both(root_D).unsqueeze(1)).to(self.nu.dtype)


def _both(factor_D: Tensor) -> Tensor:
    """The same factor for the real and the imaginary part: [..., D] or [..., 1] -> [..., E] or [..., 2]."""
    return factor_D.repeat_interleave(2, dim=-1)


def _parts(pair_BE: Tensor) -> tuple[Tensor, Tensor]:
    re_BD, im_BD = _split(pair_BE).unbind(-1)
    return re_BD, im_BD


def _split(pair: Tensor) -> Tensor:
    """[..., E] -> [..., D, 2], with the width said, since a chunk may have no rows and an exported step any number."""
    return pair.reshape(*pair.shape[:-1], pair.shape[-1] // 2, 2)


def turning_scan(a_BTE: Tensor, angle_D: Tensor, b_BTE: Tensor, s0_BE: Tensor) -> Tensor:
    """All states of s_t = a_t exp(i angle) s_{t-1} + b_t, complex numbers as pairs, with a real and the same in a pair.

    Seen from a frame that turns with the state the recurrence is real: with g_t = exp(-i angle t) s_t it is
    g_t = a_t g_{t-1} + exp(-i angle t) b_t, two plain scans side by side. Nothing grows: a turn has length 1.
    """
    # in float64: the rounding of a large angle is that of its turn
    step_T1 = torch.arange(1, b_BTE.shape[1] + 1, device=b_BTE.device, dtype=torch.float64).unsqueeze(1)
    angle_TD = angle_D * step_T1
    turn_TD = torch.complex(angle_TD.cos().to(b_BTE.dtype), angle_TD.sin().to(b_BTE.dtype))
    g_BTE = scan(a_BTE, _pairs(_complex(b_BTE) * turn_TD.conj()), s0_BE)
    return _pairs(_complex(g_BTE) * turn_TD)


def _complex(pair_BTE: Tensor) -> Tensor:
    return torch.view_as_complex(_split(pair_BTE))


def _pairs(number_BTD: Tensor) -> Tensor:
    return torch.view_as_real(number_BTD).flatten(-2)
