"""DP-SGD on users whose gradients are known: the loss of a user is w . g, so the gradient is g."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from reprise.training.private.accounting import SampledSteps
from reprise.training.private.dp_sgd import PrivateSgd, PrivateSteps
from reprise.training.private.secret_noise import SecretNoise

D = 4
PLAN = PrivateSteps(users=1000, batch=100, steps=50, clip=2.0, sigma=1.5, learning_rate=0.1)
SECRET = SecretNoise(bytes(range(32)))


class Weights(nn.Module):
    """A layer that is read, and a large one that no user reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(D, 1, bias=False)
        self.unread = nn.Linear(100, 100, bias=False)


def sgd(
    gradient_RD: Tensor, plan: PrivateSteps = PLAN, noise: SecretNoise = SECRET, **options: int
) -> PrivateSgd:
    torch.manual_seed(0)
    module = Weights()

    def loss_of(row_B: Tensor, step: int) -> Tensor:
        loss_B: Tensor = module.read(gradient_RD[row_B].unsqueeze(1)).flatten()
        return loss_B

    return PrivateSgd(module, loss_of, len(gradient_RD), plan, noise, **options)


def random_gradients(rows: int = 1000) -> Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(1))


def samples(rows: int, steps: int) -> list[Tensor]:
    run = sgd(torch.zeros(rows, D))
    found = []
    for run.step in range(steps):
        found.append(run.sample_users())
    return found


def test_each_user_is_sampled_independently_with_the_same_probability() -> None:
    rows, steps, rate = 1000, 1000, PLAN.batch / PLAN.users
    sizes = torch.tensor([len(row_B) for row_B in samples(rows, steps)], dtype=torch.float64)
    # binomial: fixed-size batches, or those of one random start, have another variance
    variance = rows * rate * (1 - rate)
    assert float(sizes.mean()) == pytest.approx(rows * rate, abs=5 * math.sqrt(variance / steps))
    assert float(sizes.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / steps))


def test_users_are_sampled_without_regard_to_each_other_and_to_other_steps() -> None:
    rows, steps, rate = 50, 4000, PLAN.batch / PLAN.users
    read_SR = torch.zeros(steps, rows, dtype=torch.float64)
    for step, row_B in enumerate(samples(rows, steps)):
        read_SR[step, row_B] = 1
    bound = 6 * math.sqrt(rate * (1 - rate) / steps)
    assert (read_SR.mean(0) - rate).abs().max() < bound
    centred_SR = (read_SR - rate) / math.sqrt(rate * (1 - rate))
    between_RR = centred_SR.t() @ centred_SR / steps - torch.eye(rows)
    in_time_R = (centred_SR[1:] * centred_SR[:-1]).mean(0)
    assert between_RR.fill_diagonal_(0).abs().max() < 6 / math.sqrt(steps)
    assert in_time_R.abs().max() < 6 / math.sqrt(steps)


def test_noise_has_the_stated_variance_where_no_user_has_a_gradient() -> None:
    run = sgd(random_gradients())
    found = run.noisy_gradient()["unread.weight"].flatten().double()
    deviation = PLAN.clip * PLAN.sigma / PLAN.batch
    assert float(found.std()) == pytest.approx(deviation, rel=5 / math.sqrt(2 * len(found)))
    assert abs(float(found.mean())) < 5 * deviation / math.sqrt(len(found))
    assert float((found.abs() < deviation).double().mean()) == pytest.approx(
        math.erf(math.sqrt(0.5)), abs=0.03
    )


def test_the_gradient_is_that_of_the_sampled_users_divided_by_the_expected_number() -> None:
    gradient_RD = random_gradients()
    run = sgd(gradient_RD)
    row_B = run.sample_users()
    clipped_BD = gradient_RD[row_B] * (PLAN.clip / gradient_RD[row_B].norm(dim=1, keepdim=True)).clamp(max=1)
    noise = PLAN.clip * PLAN.sigma * torch.from_numpy(SECRET.normal("step 0 noise read.weight", (1, D)))
    expected = (clipped_BD.sum(0).double() + noise) / PLAN.batch
    torch.testing.assert_close(run.noisy_gradient()["read.weight"].double(), expected, atol=1e-5, rtol=1e-5)


def test_one_more_user_changes_the_sum_by_the_bound_at_most() -> None:
    gradient_RD = random_gradients(20)
    plan = replace(PLAN, batch=PLAN.users)  # each step reads all users
    before = sgd(gradient_RD, plan).noisy_gradient()["read.weight"]
    for size in (1e-3, 1.0, 1e6, math.inf):
        more_RD = torch.cat([gradient_RD, torch.tensor([[size, 0, 0, 0]])])
        after = sgd(more_RD, plan).noisy_gradient()["read.weight"]
        change = float((after - before).norm()) * plan.batch
        assert change == pytest.approx(min(size, PLAN.clip) if math.isfinite(size) else 0, rel=1e-3, abs=1e-3)


def test_the_size_of_a_forward_pass_does_not_change_the_gradient() -> None:
    gradient_RD = random_gradients()
    small, large = (sgd(gradient_RD, microbatch=size).noisy_gradient()["read.weight"] for size in (3, 10**6))
    torch.testing.assert_close(small, large, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_step_without_users_adds_noise_too(rows: int) -> None:
    run = sgd(torch.zeros(rows, D), replace(PLAN, users=10**6, batch=1))
    assert not len(run.sample_users())
    before = run.module.get_parameter("unread.weight").detach().clone()
    run.run_step()
    after = run.module.get_parameter("unread.weight")
    assert run.step == 1
    assert (after != before).all()
    assert all(parameter.grad is None for parameter in run.module.parameters())


def test_a_resumed_run_ends_with_the_same_weights() -> None:
    gradient_RD = random_gradients()
    whole = sgd(gradient_RD)
    for _ in range(5):
        whole.run_step()
    first = sgd(gradient_RD)
    for _ in range(2):
        first.run_step()
    tensors = first.state()
    first.run_step()  # the state is a copy
    resumed = sgd(gradient_RD, noise=SecretNoise(SECRET.secret))
    resumed.restore(tensors, step=2)
    for _ in range(3):
        resumed.run_step()
    assert resumed.step == 5
    for name, tensor in whole.state().items():
        assert torch.equal(resumed.state()[name], tensor), name


@pytest.mark.parametrize("name", ["read.weight", "unread.weight"])
def test_the_noise_depends_on_the_secret_and_the_step_and_not_on_a_published_seed(name: str) -> None:
    def noise(secret: SecretNoise, step: int, seed: int) -> Tensor:
        run = sgd(torch.zeros(10, D), noise=secret)
        run.step = step
        torch.manual_seed(seed)
        return run.noisy_gradient()[name]

    found = noise(SECRET, 0, 0)
    assert torch.equal(found, noise(SECRET, 0, 1))
    assert (found != noise(SECRET, 1, 0)).all()
    assert (found != noise(SecretNoise.draw(), 0, 0)).all()


def test_the_accountant_gets_the_numbers_of_the_steps() -> None:
    assert PLAN.sampled == SampledSteps(sigma=1.5, rate=0.1, steps=50)


def test_no_step_is_taken_that_was_not_accounted_for() -> None:
    run = sgd(random_gradients(10), replace(PLAN, steps=1))
    run.run_step()
    with pytest.raises(AssertionError, match="fewer steps"):
        run.run_step()


def test_training_follows_the_users() -> None:
    """All users have the gradient (1, -1, 0, 0), so the weights move against it, far more than by the noise."""
    gradient_RD = torch.tensor([1.0, -1.0, 0, 0]).repeat(1000, 1)
    run = sgd(gradient_RD, replace(PLAN, sigma=0.5, clip=1.0))
    before = run.module.get_parameter("read.weight").detach().clone()
    for _ in range(20):
        run.run_step()
    change_D = (run.module.get_parameter("read.weight").detach() - before).flatten()
    length = 20 * PLAN.learning_rate
    assert change_D[:2].tolist() == pytest.approx([-length, length], rel=0.2)
