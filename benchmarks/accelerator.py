"""Training on a CUDA device: events per second and peak memory, with the Triton scan and with the loop over steps.

    python benchmarks/accelerator.py --dataset data/ml-1m

Time is elapsed time, up to the end of the last kernel. `--accelerator cpu` tries the command on a machine without one.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.recurrent import Recurrent
from reprise.nn import linear_scan
from reprise.training import Recipe, RunOptions
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer


def results(device: torch.device) -> list[torch.Tensor]:
    """Return the states and gradients of one scan at B 64, T 200, D 100, in float64 for comparison."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, 64, 200, 100, generator=generator)
    inputs = [numbers[0].sigmoid(), numbers[1], torch.randn(64, 100, generator=generator)]
    leaves = [tensor.to(device).requires_grad_() for tensor in inputs]
    h_BTD = linear_scan.scan(leaves[0], leaves[1], leaves[2])
    return [tensor.double().cpu() for tensor in (h_BTD.detach(), *torch.autograd.grad(h_BTD.sum(), leaves))]


def training(cell: str, size: int, dataset: SequenceDataset, steps: int, accelerator: str) -> dict[str, int]:
    """Train for `steps` steps to warm up and as many to measure."""
    on_gpu = accelerator == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(model=Recurrent(cell=cell, size=size))
        trainer = Trainer(recipe, dataset, RunDirectory(Path(folder)), RunOptions(accelerator=accelerator))
        targets, begun = 0, 0.0
        for number, chunk in zip(range(2 * steps), trainer._plan(0), strict=False):
            if number == steps:
                if on_gpu:
                    torch.cuda.synchronize()
                    torch.cuda.reset_peak_memory_stats()
                targets, begun = 0, time.perf_counter()
            targets += trainer._step(chunk)[1]
            trainer.progress.step += 1
        if on_gpu:
            torch.cuda.synchronize()
        found = {"events/s": round(targets / (time.perf_counter() - begun))}
    return found | ({"peak MiB": torch.cuda.max_memory_allocated() >> 20} if on_gpu else {})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True, help="prepared log")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--cell", default="rglru")
    parser.add_argument("--accelerator", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    dataset = SequenceDataset.open(options.dataset)
    device = torch.zeros((), device=options.accelerator).device
    name = torch.cuda.get_device_name() if options.accelerator == "cuda" else "cpu"
    found: dict[str, object] = {"device": name, "torch": torch.__version__}
    with patch.object(linear_scan, "_has_kernel", lambda device: False):
        loop = results(device)
        arguments = (options.cell, options.size, dataset, options.steps, options.accelerator)
        found["loop"] = training(*arguments)
    if linear_scan._has_kernel(device):
        pairs = zip(results(device), loop, strict=True)
        found["largest difference of a scan"] = max(float((a - b).abs().max()) for a, b in pairs)
        found["Triton"] = training(*arguments)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
