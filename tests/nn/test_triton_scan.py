"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for GPUs that are not there.

Triton chooses between interpreter and compiler when a kernel is defined, so each test works in a process of its own.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reprise.nn.cells import Cell
from reprise.nn.linear_cells import LRU, RGLRU
from reprise.nn.linear_scan import scan

# the condition of the requirement in pyproject.toml: where it asks for Triton, a missing one is a failure
pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() == "x86_64"),
    reason="Triton has no package for this platform that the tests install",
)

Case = tuple[Tensor, Tensor, Tensor, Tensor]
"""a and b [B, T, D], the state before the first step [B, D], and the gradient of the states [B, T, D]."""
CELLS: list[type[Cell]] = [RGLRU, LRU]

INTERPRETED = """
import sys
import torch
from reprise.nn import linear_scan
from test_triton_scan import CELLS, results, run_cell

linear_scan._has_kernel = lambda device: True
cases = torch.load(sys.argv[1])
found = {name: results(*case) for name, case in cases.items()}
found |= {make.__name__: run_cell(make) for make in CELLS}
assert "reprise.nn.triton_scan" in sys.modules
torch.save(found, sys.argv[2])
"""

NOT_INTERPRETED = """
import warnings
import torch
import triton.language as tl
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from reprise.nn.triton_scan import BLOCK_SIZE, backward_kernel, forward_kernel, runs_on

def size(kernel, inputs, outputs, pointer, total, capability, known):
    # Triton replaces integers equal to 1, here the steps and the last stride, by constants
    strides = ("i64", "i64", "constexpr" if known else "i64")
    types = [(pointer,) * inputs, outputs, strides, "constexpr" if known else "i32", "i32", "constexpr", "constexpr"]
    constants = {"BLOCK": BLOCK_SIZE, "ACC": total} | ({"steps": 1, (2, 2): 1} if known else {})
    source = ASTSource(kernel, dict(zip(kernel.arg_names, types, strict=True)), constants)
    target = GPUTarget("cuda", capability, 32)
    return len(compile(source, target=target, options={"num_warps": 1}).asm["cubin"])

for pointer, total in {"*fp32": tl.float32, "*bf16": tl.float32, "*fp64": tl.float64}.items():
    for capability, known in ((80, False), (90, True)):
        print(size(forward_kernel, 3, pointer, pointer, total, capability, known))
        print(size(backward_kernel, 4, (pointer,) * 3, pointer, total, capability, known))
with warnings.catch_warnings(record=True) as caught:
    print(runs_on(torch.device("cpu")))
print(str(caught[0].message).splitlines()[0])
"""


def run(script: str, *arguments: Path, **environment: str) -> str:
    """Run a script in a new process, with this folder to import from, and return what it prints."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    paths = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=variables | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(a_BTD: Tensor, b_BTD: Tensor, h0_BD: Tensor, grad_BTD: Tensor) -> list[Tensor]:
    """Return the states and the gradients of a, b and the state before the first step."""
    leaves = [tensor.detach().requires_grad_() for tensor in (a_BTD, b_BTD, h0_BD)]
    h_BTD = scan(*leaves)
    return [h_BTD.detach(), *torch.autograd.grad(h_BTD, leaves, grad_BTD)]


def run_cell(make: type[Cell]) -> list[Tensor]:
    """Return the outputs, the states and the gradients of a cell for a padded batch, then with a reset, in float64."""
    torch.manual_seed(0)
    cell, x_BTD = make(20).double(), torch.randn(3, 6, 20).double()
    valid_BT = torch.arange(6) < torch.tensor([[6], [4], [1]])
    decay_BTD = torch.ones_like(x_BTD)
    decay_BTD[1, 2] = 0.0
    found = []
    for decay in (None, decay_BTD):
        hidden_BTD, state = cell.scan(x_BTD, cell.initial_state(3), valid_BT, decay)
        grads = torch.autograd.grad(hidden_BTD.square().sum(), list(cell.parameters()))
        found += [hidden_BTD.detach(), *(value.detach() for value in state.values()), *grads]
    return found


def random_case(rows: int, steps: int, size: int, dtype: torch.dtype = torch.float32) -> Case:
    generator = torch.Generator().manual_seed(rows + steps + size)
    a, b, grad = torch.randn(3, rows, steps, size, generator=generator).to(dtype)
    return a.sigmoid(), b, torch.randn(rows, size, generator=generator).to(dtype), grad


def cases() -> dict[str, Case]:
    found = {
        "two blocks": random_case(3, 5, 50),
        "one step": random_case(2, 1, 5),
        "one row and number": random_case(1, 4, 1),
        "no rows": random_case(0, 3, 4),
        "many steps": random_case(1, 200, 3),
        "resets": random_case(2, 6, 5),
        "padded": random_case(2, 6, 5),
        "views": random_case(3, 4, 6),
        "bfloat16": random_case(1, 30, 8, torch.bfloat16),
        "float16": random_case(1, 30, 8, torch.float16),
        "float64": random_case(2, 5, 40, torch.float64),
    }
    a, b, _, _ = found["resets"]
    a[:, 0], a[0, 3] = 0.0, 0.0
    a, b, _, _ = found["padded"]
    a[1, 2:], b[1, 2:] = 1.0, 0.0
    a, b, h0, grad = found["views"]
    steps_first = a.transpose(0, 1).contiguous().transpose(0, 1)
    every_second = b.repeat_interleave(2, dim=2)[..., ::2]
    found["views"] = (steps_first, every_second, h0.T.contiguous().T, grad[..., :1].expand_as(b))
    found["one a for all steps"] = (a[0, 0].expand_as(a), b, h0, grad)
    return found


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Tensor]]:
    """The results of all cases and cells, computed by the kernels."""
    folder = tmp_path_factory.mktemp("scan")
    torch.save(cases(), folder / "cases.pt")
    run(INTERPRETED, folder / "cases.pt", folder / "found.pt", TRITON_INTERPRET="1")
    found: dict[str, list[Tensor]] = torch.load(folder / "found.pt")
    return found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines that NOT_INTERPRETED prints."""
    return run(NOT_INTERPRETED, TRITON_CACHE_DIR=str(tmp_path_factory.mktemp("cache"))).splitlines()


@pytest.mark.parametrize("name", [name for name, case in cases().items() if case[0].dtype == torch.float32])
def test_kernels_equal_the_loop(name: str, interpreted: dict[str, list[Tensor]]) -> None:
    torch.testing.assert_close(interpreted[name], results(*cases()[name]), rtol=1e-5, atol=1e-5)


def test_sums_of_float64_inputs_are_float64(interpreted: dict[str, list[Tensor]]) -> None:
    torch.testing.assert_close(interpreted["float64"], results(*cases()["float64"]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_sums_of_half_precision_inputs_are_float32(name: str, interpreted: dict[str, list[Tensor]]) -> None:
    """Only stored states and gradients are rounded. dL/da has two such errors, each of at most one unit in the last
    place: the interpreter rounds bfloat16 towards zero, a GPU to the nearest."""
    a, b, h0, grad = cases()[name]
    exact = results(a.float(), b.float(), h0.float(), grad.float())
    assert {tensor.dtype for tensor in interpreted[name]} == {a.dtype}
    found = [tensor.float() for tensor in interpreted[name]]
    torch.testing.assert_close(found, exact, rtol=2 * torch.finfo(a.dtype).eps, atol=1e-6)


def test_kernels_keep_resets_and_padding_exact(interpreted: dict[str, list[Tensor]]) -> None:
    """With a = 0 the state is b and no gradient passes; with a = 1 and b = 0 the state is unchanged bit for bit."""
    states, _, _, grad_h0 = interpreted["resets"]
    b = cases()["resets"][1]
    assert torch.equal(states[:, 0], b[:, 0])
    assert torch.equal(states[0, 3], b[0, 3])
    assert torch.equal(grad_h0, torch.zeros_like(grad_h0))
    states = interpreted["padded"][0]
    assert torch.equal(states[1, 2:], states[1, 1].expand(4, -1))


@pytest.mark.parametrize("make", CELLS)
def test_cells_learn_the_same_with_the_kernels(
    make: type[Cell], interpreted: dict[str, list[Tensor]]
) -> None:
    torch.testing.assert_close(interpreted[make.__name__], run_cell(make), rtol=1e-10, atol=1e-10)


def test_kernels_compile_for_cuda_devices(compiled: list[str]) -> None:
    """Both kernels for three types, for compute capability 8.0 and, with one step, for 9.0."""
    sizes = compiled[:-2]
    assert len(sizes) == 2 * 3 * 2
    assert all(int(size) > 0 for size in sizes)


def test_a_device_on_which_the_kernels_fail_is_reported(compiled: list[str]) -> None:
    """Without the interpreter they do not run on a CPU."""
    answer, warning = compiled[-2:]
    assert answer == "False"
    assert warning.startswith("the Triton scan does not run on cpu (")
    assert "is used" in warning
