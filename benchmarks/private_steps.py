"""A step of DP-SGD compared with a plain step: gradients of single users, clipping and noise, by the width.

    OMP_NUM_THREADS=1 python benchmarks/private_steps.py

The network is one residual block (RG-LRU) on item vectors that are not trained. The loss is a softmax over all items at some
events of each user. `network`: the same without the softmax, whose cost is the same in both. `one user a pass`: the simplest
way to get the gradients of single users. Everything is measured in one run, in turns, in processor seconds of this process:
compare the ratios, not the times.
"""

import argparse
import json
import os
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor
from training import in_turns

from reprise.models.networks.cell_stack import Stack
from reprise.nn.blocks import GatedBranch, ResidualBlock
from reprise.nn.linear_cells import RGLRU
from reprise.training.private.dp_sgd import PrivateSgd, PrivateSteps
from reprise.training.private.per_user_gradients import clipped_sum
from reprise.training.private.secret_noise import SecretNoise


class Users:
    """A network and random histories of users, all of the same length."""

    def __init__(self, size: int, users: int, events: int, items: int, targets: int) -> None:
        torch.manual_seed(0)
        self.module = Stack([ResidualBlock(GatedBranch(RGLRU(size)), 0.0)])
        self.users, self.targets = users, targets
        self.vector_ID = torch.randn(items, size) / size**0.5
        self.item_BT = torch.randint(items, (users, events + 1))
        self.valid_BT = torch.ones(users, events, dtype=torch.bool)

    def hidden(self, row_B: Tensor) -> Tensor:
        x_BTD = self.vector_ID[self.item_BT[row_B, :-1]]
        state = self.module.initial_state(len(row_B))
        return self.module(x_BTD, state, self.valid_BT[row_B]).hidden_BTD

    def network(self, row_B: Tensor) -> Tensor:
        """Return a loss per user that takes no time."""
        return self.hidden(row_B).sum((1, 2))

    def softmax(self, row_B: Tensor) -> Tensor:
        """Return the mean loss per user at the last events."""
        score_BNI = (self.hidden(row_B)[:, -self.targets :] @ self.vector_ID.t()).log_softmax(-1)
        target_BN = self.item_BT[row_B, -self.targets :]
        return -score_BNI.gather(-1, target_BN.unsqueeze(-1)).squeeze(-1).mean(1)


def compared(users: Users, loss_of: Callable[[Tensor], Tensor], rounds: int) -> dict[str, float]:
    """Return the milliseconds of gradients and whole steps, and how many times the plain ones the private ones take."""
    everyone = torch.arange(users.users)
    adam = torch.optim.Adam(users.module.parameters())
    plan = PrivateSteps(users.users, users.users, 10**6, clip=1.0, sigma=1.0, learning_rate=1e-3)
    private = PrivateSgd(
        users.module, lambda row_B, _: loss_of(row_B), users.users, plan, SecretNoise.draw(), users.users
    )

    def gradient() -> None:
        adam.zero_grad()
        loss_of(everyone).sum().backward()

    def step() -> None:
        gradient()
        adam.step()

    def one_user_a_pass() -> None:
        for row_B in everyone.split(1):
            adam.zero_grad()
            loss_of(row_B).sum().backward()
            torch.nn.utils.clip_grad_norm_(users.module.parameters(), 1.0)

    works = {
        "plain gradient": gradient,
        "private gradient": lambda: clipped_sum(
            users.module, lambda: loss_of(everyone), users.users, 1.0
        ).clear(),
        "one user a pass": one_user_a_pass,
        "plain step": step,
        "private step": private.run_step,
    }
    slow = {name: works.pop(name) for name in ("one user a pass",)}
    best = in_turns(works, rounds) | in_turns(slow, -(-rounds // 5))
    return {
        **{f"{name}, ms": value for name, value in best.items()},
        "gradient, times plain": round(best["private gradient"] / best["plain gradient"], 2),
        "one user a pass, times plain": round(best["one user a pass"] / best["plain gradient"], 2),
        "step, times plain": round(best["private step"] / best["plain step"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--users", type=int, default=128)
    parser.add_argument("--events", type=int, default=32)
    parser.add_argument("--items", type=int, default=3525)
    parser.add_argument("--targets", type=int, default=12, help="events of a user in the loss, the last ones")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for size in options.sizes:
        users = Users(size, options.users, options.events, options.items, options.targets)
        found[f"width {size}"] = {
            "network": compared(users, users.network, options.rounds),
            "with the softmax": compared(users, users.softmax, options.rounds),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
