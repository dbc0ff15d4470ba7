"""Gradients of single users from one backward pass, clipped to a norm and summed.

Shape letters: B users, T steps, I inputs, O outputs, N numbers of a parameter.

Each parameter is replaced by a view of itself with an axis of users, whose entries share the memory. The gradient with
respect to such a view is the gradient of each user. Matrix products stay one product for all users in the forward pass and
in the gradient of the input; only the gradient of the weights is one product per user. The fused functions of `reprise.nn`
accept vectors with an axis of users. `torch.func.vmap` does not apply to them, because they have no rule for it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from reprise.errors import ConfigError
from reprise.nn.blocks import GatedBranch
from reprise.nn.elementwise import RootMeanSquareNorm
from reprise.nn.linear_cells import RGLRU

SHORTER = 1 - 1e-5
"""Factor of the norm to which a gradient is clipped: rounding errors in float32 then cannot make it exceed the bound."""
USER_AXIS: dict[type[nn.Module], dict[str, int]] = {
    nn.Linear: {"weight": 0, "bias": 0},
    RootMeanSquareNorm: {"weight": 0},
    RGLRU: {"decay": 0},
    GatedBranch: {"shift": 1},
}
"""Kinds of modules whose own parameters are supported, and the place of the axis of users in each parameter."""


def clipped_sum(
    module: nn.Module, loss_of: Callable[[], Tensor], users: int, clip: float
) -> dict[str, Tensor]:
    """Return the sum of the gradients of all users, after each is clipped to a norm of at most `clip`.

    The norm is that of all parameters together. A gradient that is not finite counts as zero, so one user cannot change the
    sum by more than `clip`, whatever the events are.

    Args:
        module: Module whose parameters are differentiated, in float32 or float64.
        loss_of: Function that runs the module on chunks of B users and returns their losses, loss_B. The loss of a user must
            depend on the events of that user only; its divisor must not depend on the other users.
        users: B. With 0 users the function is not called, and the sum is zero.
        clip: Largest norm of the gradient of a user; it may be infinite.

    Returns:
        The sum for each parameter, by its name in `module.named_parameters()`.

    Raises:
        ConfigError: A module has parameters for which the gradients of single users are not implemented.
    """
    axes = user_axes(module)
    if not users:
        return {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}
    gradients = per_user_gradients(module, loss_of, users)
    flat_BN = torch.cat([gradients[name].flatten(1) for name in axes], dim=1)
    norm_B = torch.linalg.vector_norm(flat_BN, dim=1)
    finite_B = norm_B.isfinite()
    if not bool(finite_B.all()):
        flat_BN.masked_fill_(~finite_B.unsqueeze(1), 0.0)
    factor_B = torch.where(finite_B, (SHORTER * clip / norm_B).clamp(max=1.0), 0.0)
    parts = torch.split(factor_B @ flat_BN, [parameter.numel() for parameter in module.parameters()])
    return {
        name: part.view_as(parameter)
        for (name, parameter), part in zip(module.named_parameters(), parts, strict=True)
    }


def per_user_gradients(module: nn.Module, loss_of: Callable[[], Tensor], users: int) -> dict[str, Tensor]:
    """Return the gradient of the loss of each user, [B, *shape] for each parameter of this shape.

    See `clipped_sum`. Gradients are not stored in the parameters.

    Raises:
        ConfigError: A module has parameters for which the gradients of single users are not implemented.
    """
    axes = user_axes(module)
    views = {
        name: _with_user_axis(parameter.detach(), axes[name], users).requires_grad_()
        for name, parameter in module.named_parameters()
    }
    caller = _LossCaller(module, loss_of)
    device = next(iter(views.values())).device.type
    with torch.enable_grad(), torch.autocast(device, enabled=False), _PerUserProducts():
        loss_B = torch.func.functional_call(
            caller, {f"module.{name}": view for name, view in views.items()}, ()
        )
        assert loss_B.shape == (users,), f"expected one loss for each of {users} users, got {loss_B.shape}"
        found = torch.autograd.grad(loss_B.sum(), list(views.values()), materialize_grads=True)
    return {
        name: gradient.movedim(axes[name], 0).reshape(users, *parameter.shape)
        for (name, parameter), gradient in zip(module.named_parameters(), found, strict=True)
    }


def user_axes(module: nn.Module) -> dict[str, int]:
    """Return the place of the axis of users in each parameter.

    Raises:
        ConfigError: A module has parameters for which the gradients of single users are not implemented.
    """
    axes: dict[str, int] = {}
    for prefix, part in module.named_modules():
        own = [name for name, _ in part.named_parameters(recurse=False)]
        known = USER_AXIS.get(type(part), {})
        if unknown := [name for name in own if name not in known]:
            raise ConfigError(
                f"the gradients of single users are not implemented for the parameter {unknown[0]!r} of "
                f"{type(part).__name__} ({prefix or 'the module itself'}); build the network of "
                f"{', '.join(kind.__name__ for kind in USER_AXIS)}"
            )
        axes |= {f"{prefix}.{name}" if prefix else name: known[name] for name in own}
    return {name: axes[name] for name, _ in module.named_parameters()}


def _with_user_axis(parameter: Tensor, axis: int, users: int) -> Tensor:
    """Return a view with an axis of users, and, for vectors, an axis of length 1 for the steps after it.

    A matrix [O, I] of a linear layer becomes [B, O, I], a vector [D] becomes [B, 1, D], and the two vectors [2, D] of a shift
    become [2, B, 1, D].
    """
    is_matrix = parameter.dim() - axis == 2
    view = parameter.unsqueeze(axis) if is_matrix else parameter.unsqueeze(axis).unsqueeze(axis)
    sizes = [-1] * view.dim()
    sizes[axis] = users
    return view.expand(sizes)


class _LossCaller(nn.Module):
    """Holds a module and a function that runs it, so that `functional_call` replaces parameters while the function runs."""

    def __init__(self, module: nn.Module, loss_of: Callable[[], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.loss_of = loss_of

    def forward(self) -> Tensor:
        return self.loss_of()


class _PerUserProducts(TorchFunctionMode):
    """Computes linear layers whose weights have an axis of users."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (_linear if function is linear else function)(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() == 2:
        return linear(input, weight, bias)
    out: Tensor = _PerUserLinear.apply(input, weight)  # type: ignore[no-untyped-call]
    return out if bias is None else out + bias


class _PerUserLinear(torch.autograd.Function):
    """A linear layer of chunks, whose weights are the same for all users, with one gradient of the weights per user."""

    @staticmethod
    def forward(ctx: Any, x_BTI: Tensor, weight_BOI: Tensor) -> Tensor:
        assert x_BTI.dim() == 3, f"expected chunks [B, T, I], got {tuple(x_BTI.shape)}"
        ctx.save_for_backward(x_BTI, weight_BOI[0])
        return linear(x_BTI, weight_BOI[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x_BTI, weight_OI = ctx.saved_tensors
        return grads[0] @ weight_OI, grads[0].transpose(1, 2) @ x_BTI
