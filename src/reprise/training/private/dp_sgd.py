"""DP-SGD with the user as the unit: steps on Poisson samples of users, with clipped gradients and Gaussian noise.

Abadi et al. 2016, "Deep learning with differential privacy", algorithm 1; McMahan et al. 2018, "Learning differentially
private recurrent language models", for users. Adam (Kingma and Ba 2015) applies the noisy gradient: whatever is computed from
noisy numbers and public ones is as private as these. The noise is a float64 number that is rounded, so the guarantee holds up
to the rounding errors of floating-point numbers (Mironov 2012).

Shape letters: B users.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from reprise.training.private.accounting import SampledSteps
from reprise.training.private.per_user_gradients import clipped_sum
from reprise.training.private.secret_noise import SecretNoise

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of the running averages in the state of torch's Adam."""


@dataclass(frozen=True)
class PrivateSteps:
    """The numbers of a training by DP-SGD. All are public: none may be computed from the log."""

    users: int
    """Number of users for which the run is accounted."""
    batch: int
    """Expected number of users in a step. A step reads each user with a probability of batch / users."""
    steps: int
    """Number of steps."""
    clip: float
    """C: largest norm of the gradient of a user."""
    sigma: float
    """Standard deviation of the noise, divided by C."""
    learning_rate: float
    """Learning rate of Adam."""

    @property
    def sampled(self) -> SampledSteps:
        """What the accountant needs to know of the steps."""
        return SampledSteps(self.sigma, self.batch / self.users, self.steps)


@dataclass
class PrivateSgd:
    """Trains a module by DP-SGD. It reports no loss, no norm and no number of users: they would not be private.

    Raises:
        ConfigError: The module has parameters for which the gradients of single users are not implemented.
    """

    module: nn.Module
    """Module whose parameters are trained, all of them."""
    loss_of: Callable[[Tensor, int], Tensor]
    """Function of the row numbers of B users, row_B, and the number of the step, that returns their losses, loss_B.
    See `clipped_sum`."""
    rows: int
    """Number of users in the log. It is private, and used for nothing but sampling."""
    plan: PrivateSteps
    """The public numbers."""
    noise: SecretNoise
    """Source of the noise and of the samples. An interrupted run must continue with the same one."""
    microbatch: int = 128
    """Largest number of users in a forward pass."""
    step: int = field(default=0, init=False)
    """Number of the next step."""

    def __post_init__(self) -> None:
        self._sampled = self.plan.sampled
        self._adam = torch.optim.Adam(self.module.parameters(), lr=self.plan.learning_rate)
        for parameter in self.module.parameters():
            self._adam.state[parameter] = {
                "step": torch.tensor(0.0),
                **{name: torch.zeros_like(parameter) for name in MOMENTS},
            }

    def run_step(self) -> None:
        """Sample users, and update the module with the noisy mean of their gradients; also if the sample is empty."""
        assert self.step < self.plan.steps, "the accountant counted fewer steps"
        for name, gradient in self.noisy_gradient().items():
            self.module.get_parameter(name).grad = gradient
        self._adam.step()
        self._adam.zero_grad()
        self.step += 1

    def noisy_gradient(self) -> dict[str, Tensor]:
        """Return (sum of the clipped gradients of the sampled users + C sigma N(0, 1)) / batch of this step.

        The divisor is the expected number of users, since the sampled number is private.
        """
        total = {name: torch.zeros_like(tensor) for name, tensor in self.module.named_parameters()}
        for row_B in torch.split(self.sample_users(), self.microbatch):
            loss_of = partial(self.loss_of, row_B, self.step)
            found = clipped_sum(self.module, loss_of, len(row_B), self.plan.clip)
            for name, gradient in found.items():
                total[name] += gradient
        return {name: self._noisy(name, tensor) for name, tensor in total.items()}

    def sample_users(self) -> Tensor:
        """Return the row numbers of the users of this step, row_B: each independently with the same probability."""
        uniform = self.noise.uniform(f"step {self.step} users", (self.rows,))
        return torch.from_numpy(uniform < self._sampled.rate).nonzero().squeeze(1)

    def state(self) -> dict[str, Tensor]:
        """Return the parameters and the running averages of Adam, for a checkpoint."""
        tensors = {
            f"parameter.{name}": tensor.detach().clone() for name, tensor in self.module.named_parameters()
        }
        for name, parameter in self.module.named_parameters():
            averages = self._adam.state[parameter]
            tensors |= {f"{moment}.{name}": averages[moment].clone() for moment in MOMENTS}
        return tensors

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Continue from `state` of a former run, whose next step was `step`."""
        self.step = step
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                parameter.copy_(tensors[f"parameter.{name}"])
                averages = self._adam.state[parameter]
                averages["step"].fill_(step)
                for moment in MOMENTS:
                    averages[moment].copy_(tensors[f"{moment}.{name}"])

    def _noisy(self, name: str, total: Tensor) -> Tensor:
        normal = self.noise.normal(f"step {self.step} noise {name}", tuple(total.shape))
        noise = torch.from_numpy(normal).to(total.device).mul_(self.plan.clip * self.plan.sigma)
        return ((total.double() + noise) / self.plan.batch).to(total.dtype)
