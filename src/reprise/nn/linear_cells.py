"""Linear recurrent cells: their state is updated by an elementwise product, so a chunk is computed by one scan.

Shape letters: B rows, T steps, D width, E = 2 D (real and imaginary parts interleaved). Only the gates of these cells
mix the D numbers. In a residual stack `blocks.GatedBranch` adds the projections that the papers put around the cell.
"""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from reprise.nn.cells import Cell, State, state_at_end
from reprise.nn.linear_scan import scan

EPSILON = 1e-6
"""Lower bound of 1 - a^2; it keeps the gradient of its square root finite when a is 1."""


class LinearCell(Cell):
    """Linear cell: h_t = a_t h_{t-1} + b_t, with a and b computed from the event alone.

    With a decay factor f_t it is h_t = a_t f_t h_{t-1} + b_t.
    """

    linear = True
    decays = True

    @abstractmethod
    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a in [0, 1] and b for inputs x [..., D], both of the shape of x and in float32 or wider."""

    def initial_state(self, batch: int) -> State:
        return {"h": next(self.parameters()).new_zeros(batch, self.size)}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        a_BTD, b_BTD = self.recurrence(x_BTD)
        h_BTD = scan(a_BTD if decay_BTD is None else a_BTD * decay_BTD, b_BTD, state["h"])
        return h_BTD, {"h": state_at_end(h_BTD, state["h"], valid_BT)}

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        a_BD, b_BD = self.recurrence(x_BD)
        h_BD = (a_BD if decay_BD is None else a_BD * decay_BD) * state["h"] + b_BD
        return h_BD, {"h": h_BD}


class RGLRU(LinearCell):
    """Real-gated linear recurrent unit (De et al. 2024, "Griffin", equations 1 to 4).

    r, i = sigmoid(W x_t + b); a = exp(-c softplus(L) r); h_t = a h_{t-1} + sqrt(1 - a^2) (i x_t).
    """

    SCALE = 0.8
    """The constant c. The paper uses 8 with a different initial range of L; this value belongs to the range below."""
    DECAY_RANGE = (-4.0, 2.0)
    """Range of the initial L, slowest unit first: half-lives from about a hundred events down to less than one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.gates = nn.Linear(size, 2 * size)
        self.decay = nn.Parameter(torch.linspace(*self.DECAY_RANGE, size))
        nn.init.normal_(self.gates.weight, std=size**-0.5)
        nn.init.zeros_(self.gates.bias)

    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rate_D = self.SCALE * softplus(self.decay)
        return decay_and_input(self.gates(x), x.to(rate_D.dtype), rate_D)


class MinGRU(LinearCell):
    """Minimal GRU (Feng et al. 2024, "Were RNNs all we needed?", section 3.1).

    z = sigmoid(W_z x_t + b_z); h_t = (1 - z) h_{t-1} + z (W x_t + b).
    """

    GATE_BIAS_RANGE = (-4.0, 0.0)
    """Range of the initial b_z, slowest unit first: half-lives from about forty events down to one.
    Spread as in Tallec and Ollivier (2018)."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.gates = _gate_layer(size, 2)
        with torch.no_grad():
            self.gates.bias[:size] = torch.linspace(*self.GATE_BIAS_RANGE, size)

    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, candidate = self.gates(x).to(self.gates.weight.dtype).chunk(2, dim=-1)
        return torch.sigmoid(-z), torch.sigmoid(z) * candidate


class MinLSTM(LinearCell):
    """Minimal LSTM (Feng et al. 2024, section 3.2) with its two gates normalised to sum to 1.

    f, i = sigmoid(W x_t + b); h_t = f / (f + i) h_{t-1} + i / (f + i) (W_h x_t + b_h).
    """

    GATE_BIAS_RANGE = (4.0, 0.0)
    """Range of the initial b_f, slowest unit first. b_i is its negative, so the half-lives are those of `MinGRU`."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.gates = _gate_layer(size, 3)
        with torch.no_grad():
            self.gates.bias[:size] = torch.linspace(*self.GATE_BIAS_RANGE, size)
            self.gates.bias[size : 2 * size] = -self.gates.bias[:size]

    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f, i, candidate = self.gates(x).to(self.gates.weight.dtype).chunk(3, dim=-1)
        # f' / (f' + i') = sigmoid(log f' - log i') with f' = sigmoid(f) and i' = sigmoid(i). The quotient
        # itself would be 0 / 0 when both gates are closed: at f = i = -200 both are 0 in float32, and the
        # sigmoid of the difference gives 1 / 2.
        odds = softplus(-i) - softplus(-f)
        return torch.sigmoid(odds), torch.sigmoid(-odds) * candidate


class LRU(Cell):
    """Linear recurrent unit (Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences").

    l = exp(-exp(nu) + i exp(theta)); s_t = l s_{t-1} + sqrt(1 - |l|^2) B x_t, complex; h_t = Re(C s_t) + d x_t. With a
    decay factor f_t it is s_t = l f_t s_{t-1} + ... .
    """

    linear = True
    decays = True
    RADIUS_RANGE = (0.5, 0.99)
    """Smallest and largest initial |l|, uniform over the ring between them.
    Half-lives range from one event to about seventy."""
    MAX_ANGLE = 2 * math.pi
    """Largest initial angle of l; angles are uniform between 0 and this value."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        inner, outer = (radius**2 for radius in self.RADIUS_RANGE)
        self.nu = nn.Parameter(torch.log(-0.5 * torch.log(inner + torch.rand(size) * (outer - inner))))
        # 1 - rand is in (0, 1], so its logarithm is finite
        self.theta = nn.Parameter(torch.log(self.MAX_ANGLE * (1 - torch.rand(size))))
        self.input = nn.Linear(size, 2 * size, bias=False)
        self.output = nn.Linear(2 * size, size, bias=False)
        self.skip = nn.Parameter(torch.randn(size))
        nn.init.normal_(self.input.weight, std=(2 * size) ** -0.5)
        nn.init.normal_(self.output.weight, std=size**-0.5)

    def initial_state(self, batch: int) -> State:
        return {name: self.nu.new_zeros(batch, self.size) for name in ("re", "im")}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        radius_D = self._radius()
        b_BTE = self._normalised_input(x_BTD)
        a_BTE = _repeat_for_pair(radius_D if decay_BTD is None else radius_D * decay_BTD).expand_as(b_BTE)
        before_BE = torch.stack([state["re"], state["im"]], dim=-1).flatten(1)
        s_BTE = complex_scan(a_BTE, self.theta.exp(), b_BTE, before_BE)
        re_BD, im_BD = _real_and_imaginary(state_at_end(s_BTE, before_BE, valid_BT))
        return self.output(s_BTE) + self.skip * x_BTD, {"re": re_BD, "im": im_BD}

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        radius, angle_D = self._radius(), self.theta.exp()
        radius = radius if decay_BD is None else radius * decay_BD
        l_re, l_im = radius * angle_D.cos(), radius * angle_D.sin()
        b_re, b_im = _real_and_imaginary(self._normalised_input(x_BD))
        re_BD = l_re * state["re"] - l_im * state["im"] + b_re
        im_BD = l_re * state["im"] + l_im * state["re"] + b_im
        s_BE = torch.stack([re_BD, im_BD], dim=-1).flatten(1)
        return self.output(s_BE) + self.skip * x_BD, {"re": re_BD, "im": im_BD}

    def _radius(self) -> Tensor:
        return torch.exp(-self.nu.exp())

    def _normalised_input(self, x: Tensor) -> Tensor:
        """Return sqrt(1 - |l|^2) B x, [..., E]. The root scales the rows of B, which is smaller than a chunk."""
        root_D = torch.sqrt((1 - self._radius().square()).clamp(min=EPSILON))
        return linear(x, self.input.weight * _repeat_for_pair(root_D).unsqueeze(1)).to(self.nu.dtype)


def _gate_layer(size: int, gates: int) -> nn.Linear:
    """Return one linear layer for all gates, initialised for inputs of unit variance."""
    layer = nn.Linear(size, gates * size)
    nn.init.normal_(layer.weight, std=size**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


def decay_and_input(gates: Tensor, x: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor]:
    """Return a = exp(-rate r) and b = sqrt(1 - a^2) i x, with r, i = sigmoid(gates).

    `gates` is [..., 2 D]; `x` and both results are [..., D]. The rate is [D], or [B, 1, D] for the gradients of single users.
    """
    # 1 - a^2 is computed from the exponent u = rate r and not from a: near a = 1 the difference is mostly
    # rounding. At u = 1e-4 in float32, a = 0.9999 is rounded by up to 3e-8, which is an error of 3e-4 in 1 -
    # a^2 = 2e-4; that of -expm1(-2 u) is 1e-7. An exported step once failed its check for that reason,
    # because the exp of ONNX Runtime differs from torch's in the last bit.
    if not torch.is_grad_enabled():
        # ONNX has tanh but not expm1: with t = tanh(u), 1 - exp(-2 u) = 2 t / (1 + t). Training uses expm1,
        # which is faster.
        r, i = torch.sigmoid(gates.to(rate_D.dtype)).chunk(2, dim=-1)
        t = torch.tanh(rate_D * r)
        return torch.exp(-rate_D * r), torch.sqrt((2 * t / (1 + t)).clamp(min=EPSILON)) * i * x
    a, b = _DecayAndInput.apply(gates, x, rate_D)  # type: ignore[no-untyped-call]
    return a, b


class _DecayAndInput(torch.autograd.Function):
    """`decay_and_input` with a manual gradient, which needs a third of the memory passes of autograd."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, x: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor]:
        r, i = torch.sigmoid(gates.to(rate_D.dtype)).chunk(2, dim=-1)
        # with s = 1 - a = -expm1(-u), 1 - a^2 = s (2 - s) = s (1 + a) without a difference of similar numbers
        closed = (r * -rate_D).expm1_().neg_()
        a = 1 - closed
        root = torch.addcmul(closed, closed, a, out=closed).clamp_(min=EPSILON).sqrt_()
        factor = root * i
        ctx.save_for_backward(r, i, a, root, factor, x, rate_D)
        ctx.dtype = gates.dtype
        return a, factor * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grad_a, grad_b = grads
        r, i, a, root, factor, x, rate_D = ctx.saved_tensors
        grad_gates = torch.empty(*r.shape[:-1], 2 * r.shape[-1], dtype=r.dtype, device=r.device)
        grad_r, grad_i = grad_gates.chunk(2, dim=-1)
        # b = root i x; di = root x db, and the sigmoid has the derivative i (1 - i)
        product = grad_b * x
        through_i = product * factor
        torch.addcmul(through_i, through_i, i, value=-1, out=grad_i)
        # With u = rate r: a = exp(-u), so du = -a da, and root = sqrt(1 - a^2), so d root / d a = -a / root.
        # `exponent` is r times the gradient of -u: r a (grad_a - grad_b i x a / root).
        exponent = product.mul_(i).mul_(a).div_(root).neg_().add_(grad_a).mul_(a).mul_(r)
        torch.addcmul(exponent, exponent, r, value=-1, out=grad_r).mul_(-rate_D)
        grad_rate_D = exponent.sum_to_size(rate_D.shape).neg_()
        return grad_gates.to(ctx.dtype), grad_b * factor, grad_rate_D


def _repeat_for_pair(factor_D: Tensor) -> Tensor:
    """Repeat each factor for the real and the imaginary part: [..., D] -> [..., E], [..., 1] -> [..., 2]."""
    return factor_D.repeat_interleave(2, dim=-1)


def _real_and_imaginary(pair_BE: Tensor) -> tuple[Tensor, Tensor]:
    """Return the real and the imaginary parts of pairs [B, E], each [B, D]."""
    re_BD, im_BD = _as_pairs(pair_BE).unbind(-1)
    return re_BD, im_BD


def _as_pairs(pair: Tensor) -> Tensor:
    """Reshape [..., E] to [..., D, 2]."""
    # no -1 here: a chunk may have 0 rows, and then torch cannot infer a dimension
    return pair.reshape(*pair.shape[:-1], pair.shape[-1] // 2, 2)


def complex_scan(a_BTE: Tensor, angle_D: Tensor, b_BTE: Tensor, s0_BE: Tensor) -> Tensor:
    """Return all states of the complex recurrence s_t = a_t exp(i angle) s_{t-1} + b_t.

    Complex numbers are stored as pairs (real, imaginary). `a_BTE` holds the real factor a_t once for each part.
    """
    # Rotate the state back by exp(-i angle t): g_t = exp(-i angle t) s_t obeys g_t = a_t g_{t-1} + exp(-i
    # angle t) b_t, whose factor is real. So the complex recurrence is two real scans, one for each part.
    # Example: angle = pi / 2, a = 1, b = 1, s_{-1} = 0 gives s = 1, 1 + i, i, 0. The scan sums the rotated
    # inputs -i, -1, i, 1 (t counts from 1) to g = -i, -1 - i, -1, 0, and multiplying by i, -1, -i, 1 gives s.
    # A rotation has modulus 1, so no number grows. The angles are float64, because angle * t grows with t and
    # its rounding error is an error of the rotation.
    step_T1 = torch.arange(1, b_BTE.shape[1] + 1, device=b_BTE.device, dtype=torch.float64).unsqueeze(1)
    angle_TD = angle_D * step_T1
    turn_TD = torch.complex(angle_TD.cos().to(b_BTE.dtype), angle_TD.sin().to(b_BTE.dtype))
    g_BTE = scan(a_BTE, _from_complex(_to_complex(b_BTE) * turn_TD.conj()), s0_BE)
    return _from_complex(_to_complex(g_BTE) * turn_TD)


def _to_complex(pair_BTE: Tensor) -> Tensor:
    """View pairs [B, T, E] as complex numbers [B, T, D]."""
    return torch.view_as_complex(_as_pairs(pair_BTE))


def _from_complex(number_BTD: Tensor) -> Tensor:
    """View complex numbers [B, T, D] as pairs [B, T, E]."""
    return torch.view_as_real(number_BTD).flatten(-2)
