"""Triton kernels of the elementwise linear recurrence h_t = a_t h_{t-1} + b_t and of its gradient.

`linear_scan.scan` imports this module for tensors on a CUDA device if Triton is installed. With TRITON_INTERPRET=1 the
same kernels run on a CPU. Shape letters: B rows, T steps, D width.
"""

import warnings
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_SIZE = 32
"""Columns that one program computes: one for each thread of a warp. Steps follow each other, so a device works in
parallel on programs only, and small blocks give more of them."""


@triton.jit  # type: ignore[untyped-decorator]
def forward_kernel(inputs, h_ptr, a_strides, steps, width, BLOCK: tl.constexpr, ACC: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write all states of one row and one block of columns.

    `inputs` are a with any strides, and b and h0 contiguous. ACC is the type of the state between two steps.
    """
    a_ptr, b_ptr, h0_ptr = inputs
    row = tl.program_id(0).to(tl.int64)  # B x T x D may exceed 2^31
    column = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = column < width
    a_at = a_ptr + row * a_strides[0] + column * a_strides[2]
    at = row * steps * width + column
    h = tl.load(h0_ptr + row * width + column, mask=inside, other=0.0).to(ACC)
    for _ in range(steps):
        a = tl.load(a_at, mask=inside, other=0.0).to(ACC)
        h = a * h + tl.load(b_ptr + at, mask=inside, other=0.0).to(ACC)
        tl.store(h_ptr + at, h, mask=inside)
        a_at += a_strides[1]
        at += width


@triton.jit  # type: ignore[untyped-decorator]
def backward_kernel(inputs, grads, a_strides, steps, width, BLOCK: tl.constexpr, ACC: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write the gradients of one row and one block of columns, from the last step to the first.

    `inputs` are a with any strides, and the gradient of the states, the states and h0, contiguous. `grads` are the
    outputs: the gradients of a, b and h0.
    """
    a_ptr, grad_h_ptr, h_ptr, h0_ptr = inputs
    grad_a_ptr, grad_b_ptr, grad_h0_ptr = grads
    row = tl.program_id(0).to(tl.int64)
    column = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = column < width
    last = tl.cast(steps, tl.int64) - 1
    a_at = a_ptr + row * a_strides[0] + last * a_strides[1] + column * a_strides[2]
    at = (row * steps + last) * width + column
    h0 = tl.load(h0_ptr + row * width + column, mask=inside, other=0.0).to(ACC)
    # b_t reaches the loss through h_t and, times a_{t+1}, through h_{t+1}; `later` is the second part
    later = tl.zeros([BLOCK], ACC)
    for step in range(steps):
        # all loads come before the first store, so that a step waits for memory once
        a = tl.load(a_at, mask=inside, other=0.0).to(ACC)
        before = tl.load(h_ptr + at - width, mask=inside & (step < last), other=0.0).to(ACC)
        grad_b = tl.load(grad_h_ptr + at, mask=inside, other=0.0).to(ACC) + later
        tl.store(grad_a_ptr + at, grad_b * tl.where(step < last, before, h0), mask=inside)
        tl.store(grad_b_ptr + at, grad_b, mask=inside)
        later = a * grad_b
        a_at -= a_strides[1]
        at -= width
    tl.store(grad_h0_ptr + row * width + column, later, mask=inside)


def _launch(kernel: Any, inputs: tuple[Tensor, ...], outputs: Any) -> None:
    """Run a kernel over all rows and columns; the first input is a, the second has the shape [B, T, D] too."""
    a_BTD, other_BTD = inputs[:2]
    rows, steps, width = other_BTD.shape
    accumulator = tl.float64 if other_BTD.dtype == torch.float64 else tl.float32
    # Triton launches on the current device, which may be another one
    with torch.cuda.device_of(other_BTD):  # type: ignore[no-untyped-call]
        kernel[rows, triton.cdiv(width, BLOCK_SIZE)](
            inputs, outputs, a_BTD.stride(), steps, width, BLOCK=BLOCK_SIZE, ACC=accumulator, num_warps=1
        )


def _states(a_BTD: Tensor, b_BTD: Tensor, h0_BD: Tensor) -> Tensor:
    h_BTD = torch.empty_like(b_BTD)
    _launch(forward_kernel, (a_BTD, b_BTD, h0_BD), h_BTD)
    return h_BTD


def _gradients(
    grad_BTD: Tensor, a_BTD: Tensor, h_BTD: Tensor, h0_BD: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grads = (torch.empty_like(h_BTD), torch.empty_like(h_BTD), torch.empty_like(h0_BD))
    _launch(backward_kernel, (a_BTD, grad_BTD, h_BTD, h0_BD), grads)
    return grads


class _TritonScan(torch.autograd.Function):
    """Autograd function of the kernels."""

    @staticmethod
    def forward(ctx: Any, a_BTD: Tensor, b_BTD: Tensor, h0_BD: Tensor) -> Tensor:
        h_BTD = _states(a_BTD, b_BTD, h0_BD)
        ctx.save_for_backward(a_BTD, h_BTD, h0_BD)
        return h_BTD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _gradients(grads[0].contiguous(), *ctx.saved_tensors)


def triton_scan(a_BTD: Tensor, b_BTD: Tensor, h0_BD: Tensor) -> Tensor:
    """Return all states of h_t = a_t * h_{t-1} + b_t, as `linear_scan.scan` does.

    The sums of bfloat16 and float16 inputs are float32; the states and the gradients have the type of the inputs.
    """
    h_BTD: Tensor = _TritonScan.apply(a_BTD, b_BTD.contiguous(), h0_BD.contiguous())  # type: ignore[no-untyped-call]
    return h_BTD


def runs_on(device: torch.device) -> bool:
    """Return whether the kernels compute a small scan right on a device; warn if they do not.

    Triton compiles at the first call and needs more than a package: a C compiler, the headers of Python, and a device
    that it supports.
    """
    a_BTD, b_BTD = torch.full((1, 2, 1), 0.5, device=device), torch.ones(1, 2, 1, device=device)
    h0_BD = torch.ones(1, 1, device=device)
    try:
        h_BTD = _states(a_BTD, b_BTD, h0_BD)
        found = [tensor.flatten().tolist() for tensor in (h_BTD, *_gradients(b_BTD, a_BTD, h_BTD, h0_BD))]
        # h = (1/2 + 1, 3/4 + 1), dL/db = (1 + 1/2, 1) for L = h_0 + h_1, dL/da = (h_{-1} 3/2, h_0 1)
        fault = "" if found == [[1.5, 1.75], [1.5, 1.5], [1.5, 1.0], [0.75]] else f"it computed {found}"
    except Exception as error:
        # Triton, the C compiler and the driver have many exceptions, and the loop works without any of them
        fault = f"{type(error).__name__}: {error}"
    if fault:
        warnings.warn(
            f"the Triton scan does not run on {device} ({fault}); the slower loop over steps is used. "
            "Triton needs a C compiler and the headers of Python, such as gcc and python3-dev",
            stacklevel=2,
        )
    return not fault
