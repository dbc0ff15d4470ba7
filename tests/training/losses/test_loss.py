"""Properties of all losses: chunks, precision, gradients and several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import reprise.training.losses.chunked_softmax as chunked_softmax
import reprise.training.losses.shared_negatives as shared_negatives
from reprise.data.vocabulary import PAD
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.loss import Loss
from reprise.training.losses.negatives import Negatives, Sample
from reprise.training.losses.sampled_losses import GBCE, BPRMax, SampledSoftmax, Softmax, TOP1Max

FEW = Negatives(count=30)
LOSSES: list[Loss] = [
    FullSoftmax(), FullSoftmax(label_smoothing=0.2), SampledSoftmax(FEW), Softmax(FEW, max_full_items=0),
    BPRMax(FEW), TOP1Max(FEW), GBCE(FEW),
]  # fmt: skip
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


class Case:
    """Random queries, item vectors, targets and negatives."""

    def __init__(self, *, targets: int = 70, items: int = 25) -> None:
        torch.manual_seed(0)
        self.items = ItemEmbeddings(items, 6)
        self.query_ND = torch.randn(targets, 6, requires_grad=True)
        self.target_N = torch.randint(1, items + 1, (targets,))
        self.count_I = torch.randint(1, 50, (items,))

    def sample(self, loss: Loss) -> Sample | None:
        torch.manual_seed(1)
        return None if loss.negatives is None else loss.negatives.sampler(self.count_I).draw()

    def gradients(self, total: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(total, [self.query_ND, self.items.weight]))


@each_loss
def test_the_loss_does_not_depend_on_the_chunk_size(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 100 targets in chunks of 8 the last chunk is not full."""
    case = Case(targets=100)
    sample = case.sample(loss)
    total = loss(case.query_ND, case.items, case.target_N, sample)
    expected = case.gradients(total)
    monkeypatch.setattr(shared_negatives, "chunk_rows", lambda *_: 8)
    monkeypatch.setattr(chunked_softmax, "chunk_shape", lambda *_: (8, 5))
    chunked = loss(case.query_ND, case.items, case.target_N, sample)
    torch.testing.assert_close(chunked, total)
    for grad, other in zip(case.gradients(chunked), expected, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-5)


@each_loss
def test_a_target_without_other_negatives_has_a_finite_gradient(loss: Loss) -> None:
    """All negatives are the target itself, so only the part of the target is left of the loss."""
    case = Case(targets=3)
    case.target_N = torch.tensor([2, 2, 2])
    sample = Sample(torch.tensor([2]), torch.zeros(1))
    total = loss(case.query_ND, case.items, case.target_N, sample)
    assert bool(
        torch.isfinite(
            torch.cat([grad.flatten() for grad in torch.autograd.grad(total, [case.query_ND])])
        ).all()
    )
    if isinstance(loss, SampledSoftmax | BPRMax | TOP1Max):
        assert total.item() == pytest.approx(0.0, abs=1e-7)


@each_loss
@pytest.mark.parametrize("product", [torch.bfloat16, torch.float32])
def test_under_autocast_loss_and_gradients_are_float32(loss: Loss, product: torch.dtype) -> None:
    case = Case()
    sample = case.sample(loss)
    exact = loss(case.query_ND, case.items, case.target_N, sample)
    with torch.autocast("cpu", product, enabled=product != torch.float32):
        total = loss(case.query_ND, case.items, case.target_N, sample)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=1e-2, atol=0)
    for grad, expected in zip(case.gradients(total), case.gradients(exact), strict=True):
        assert grad.dtype == torch.float32
        assert (grad - expected).norm() < 0.02 * expected.norm()


@each_loss
def test_without_gradients_the_loss_is_the_same(loss: Loss) -> None:
    case = Case()
    sample = case.sample(loss)
    with torch.no_grad():
        total = loss(case.query_ND, case.items, case.target_N, sample)
    with_gradients = loss(case.query_ND, case.items, case.target_N, sample)
    torch.testing.assert_close(total, with_gradients.detach())


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.negatives], ids=repr)
def test_a_sampled_loss_reads_only_the_rows_of_targets_and_negatives(loss: Loss) -> None:
    case = Case(items=2000)
    sample = case.sample(loss)
    assert sample is not None
    expected = case.gradients(loss(case.query_ND, case.items, case.target_N, sample))[1]
    row_R = torch.cat([torch.tensor([PAD]), case.target_N, sample.item_K]).unique()
    weight_RD = case.items.weight.detach()[row_R].requires_grad_()
    case.items.use_rows(row_R, weight_RD)
    loss(case.query_ND, case.items, case.target_N, sample).backward()
    assert case.items.weight.grad is None
    assert torch.equal(weight_RD.grad, expected[row_R])


SCRIPT = """
import sys
import torch
from datetime import timedelta
from safetensors.torch import save_file
from test_loss import LOSSES, Case

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
found = {}
for number, loss in enumerate(LOSSES):
    case = Case()
    sample, count = case.sample(loss), torch.tensor([0.0])
    rows = slice(0, 30) if rank == 0 else slice(30, 70)
    total = loss(case.query_ND[rows], case.items, case.target_N[rows], sample)
    count += len(case.target_N[rows])
    (grad,) = torch.autograd.grad(total, [case.items.weight])
    torch.distributed.all_reduce(grad)
    torch.distributed.all_reduce(count)
    found[str(number)] = grad / count
if rank == 0:
    save_file(found, f"{folder}/found.safetensors")
torch.distributed.destroy_process_group()
"""


def test_two_processes_have_the_gradient_of_one_process(tmp_path: Path) -> None:
    """Each process sums over its targets (30 and 40), and the total is divided by the number of all targets."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    }
    processes = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(rank), str(tmp_path)], env=environment)
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    found = load_file(tmp_path / "found.safetensors")
    for number, loss in enumerate(LOSSES):
        case = Case()
        total = loss(case.query_ND, case.items, case.target_N, case.sample(loss)) / len(case.target_N)
        (expected,) = torch.autograd.grad(total, [case.items.weight])
        torch.testing.assert_close(found[str(number)], expected, rtol=1e-4, atol=1e-6)
