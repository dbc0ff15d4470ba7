"""Training with user-level differential privacy: a noisy release of item vectors, then DP-SGD of recurrent blocks.

The last weights are the result. Nothing is validated, and no loss, norm or batch size is shown or stored: each of them is
computed from events without noise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import Float64Array
from reprise.data.dataset import SequenceDataset, Sizes
from reprise.data.public_items import items_of_log, read_public_items, with_public_items, write_public_items
from reprise.models.items.released_embeddings import ReleasedEmbeddings
from reprise.models.networks.linear_fold import FoldEncoder
from reprise.models.networks.sequence_model import SequenceModel
from reprise.progress import JobsProgress
from reprise.training.checkpoint import CheckpointTimer, read_tensors, write_tensors
from reprise.training.privacy_config import Privacy
from reprise.training.private.dp_sgd import PrivateSgd, PrivateSteps
from reprise.training.private.gram_release import SMALLEST_COUNT, ItemRelease, release_items
from reprise.training.private.privacy_statement import noise_plan, privacy_statement
from reprise.training.private.secret_noise import SecretNoise
from reprise.training.private.user_events import last_events
from reprise.training.private.user_loss import UserLoss
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import FINISHED, LOGGER, RunDirectory, report_line

SECRET, STEP = "secret", "step"
"""Name of the seed of the noise in a checkpoint, and of the number of steps in its metadata."""
LEARNING_RATE = 0.02
"""Default learning rate of the recurrent blocks."""
POPULARITY_WEIGHT = 0.3
"""Weight of the logarithm of the noisy count in the score of an item."""
LOGIT_SCALE = 3.0
"""Scale of the output vectors."""
WITHOUT_VECTOR = -100.0
"""Bias of items without a vector, relative to the most popular item."""


@dataclass
class PrivateTrainer:
    """The private training of one network on one dataset."""

    recipe: Recipe
    """Recipe with `LinearFold` and `privacy`, from `recipe_for`."""
    dataset: SequenceDataset
    """Dataset whose training part is read."""
    run: RunDirectory
    """Directory for the checkpoint and the weights."""
    options: RunOptions
    """Seed of the initial weights, which is public, and number of threads."""

    def __post_init__(self) -> None:
        assert self.recipe.training.privacy is not None
        self.privacy: Privacy = self.recipe.training.privacy
        integer_ids = self.dataset.items.integer_ids
        self.table = (
            read_public_items(self.privacy.catalogue, integer_ids)
            if self.privacy.catalogue
            else items_of_log(self.dataset)
        )
        self.view = with_public_items(self.dataset, self.table)
        torch.manual_seed(self.options.seed)
        self.model: SequenceModel = self.recipe.model.build(public_sizes(self.view))
        self.blocks = int(self.recipe.model.layers)
        self.noise = noise_plan(self.privacy)

    def fit(self, show_progress: bool | None) -> None:
        """Train to the end, from the checkpoint if there is one."""
        bar = JobsProgress(show_progress, 1 + self.blocks * self.privacy.steps)
        if self.run.privacy.exists():
            bar.line(FINISHED.format(self.run.path))
            return
        with bar:
            secret = self._secret()
            write_public_items(self.table, self.run.catalogue)
            events = last_events(self.view, self.privacy.events)
            released = release_items(
                events,
                self.view.items.warm,
                self.privacy.keep_for(self.noise.release_sigma),
                self.model.size,
                self.noise.release_sigma,
                secret.normal,
            )
            store_release(self.model, released)
            bar.update(1, "item vectors")
            if self.noise.steps is not None:
                self._train_blocks(UserLoss(self.model, events, released.kept_K, secret), secret, bar)
            self._finish(bar)

    def _train_blocks(self, loss: UserLoss, secret: SecretNoise, bar: JobsProgress) -> None:
        """Train the recurrent blocks by DP-SGD, from the checkpoint if it has a state of them."""
        assert self.noise.steps is not None and isinstance(self.model.encoder, FoldEncoder)
        assert self.model.encoder.blocks is not None
        plan = PrivateSteps(
            self.privacy.users,
            self.privacy.batch,
            self.privacy.steps,
            self.privacy.clip,
            self.noise.steps.sigma,
            self.recipe.training.learning_rate or LEARNING_RATE,
        )
        sgd = PrivateSgd(self.model.encoder.blocks, loss, loss.users, plan, secret)
        tensors, metadata = read_tensors(self.run.checkpoint)
        if STEP in metadata:
            sgd.restore(tensors, int(metadata[STEP]))
            LOGGER.info("resumed at step %d", sgd.step)
        timer = CheckpointTimer(self.options.checkpoint_s)
        while sgd.step < plan.steps:
            sgd.run_step()
            bar.update(1 + sgd.step, f"step {sgd.step} of {plan.steps}")
            if timer.is_due():
                with timer.writing():
                    self._save(secret, sgd.state(), {STEP: str(sgd.step)})

    def _secret(self) -> SecretNoise:
        """Return the source of noise of the checkpoint, or a new one, which is stored before it is used."""
        if self.run.checkpoint.exists():
            tensors, _ = read_tensors(self.run.checkpoint)
            return SecretNoise(bytes(tensors[SECRET].tolist()))
        noise = SecretNoise.draw()
        self._save(noise, {}, {})
        return noise

    def _save(self, noise: SecretNoise, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Write a checkpoint. It has no loss and no number of users, but the seed of the noise."""
        seed = torch.tensor(list(noise.secret), dtype=torch.uint8)
        write_tensors(self.run.checkpoint, {SECRET: seed, **tensors}, metadata)

    def _finish(self, bar: JobsProgress) -> None:
        """Write the weights and the statement, and erase the seed of the noise."""
        statement = privacy_statement(self.privacy, self.noise, self.dataset.kinds)
        write_tensors(self.run.best, dict(self.model.state_dict()), {})
        self.run.write_metrics([{"privacy": statement}])
        self.run.write_privacy(statement)  # last: it marks the run as finished
        self.run.checkpoint.unlink(missing_ok=True)
        report_line(
            bar, f"private: epsilon {statement['epsilon spent']:g}, delta {self.privacy.delta:g} per user"
        )


def public_sizes(view: SequenceDataset) -> Sizes:
    """Return the sizes of a network for a public list of items, without those that depend on events."""
    return Sizes(items=view.items.warm)


def store_release(model: SequenceModel, released: ItemRelease) -> None:
    """Store released vectors, biases and popularity in the item embeddings of a network."""
    items = model.items
    assert isinstance(items, ReleasedEmbeddings)
    count_I = np.maximum(released.count_I, SMALLEST_COUNT)
    row_K = torch.from_numpy(released.kept_K + 1)
    bias_I = POPULARITY_WEIGHT * np.log(count_I / count_I.max())
    kept_I = np.zeros(len(count_I), dtype=np.bool_)
    kept_I[released.kept_K] = True
    bias_I += np.where(kept_I, 0.0, WITHOUT_VECTOR)
    with torch.no_grad():
        items.weight.zero_()
        items.output.zero_()
        items.weight[row_K] = _tensor(released.input_KD)
        items.output[row_K, :-1] = _tensor(LOGIT_SCALE * released.output_KD)
        items.output[1:, -1] = _tensor(bias_I)
        items.share[1:] = _tensor(count_I / count_I.sum())


def _tensor(array: Float64Array) -> Tensor:
    return torch.from_numpy(array).float()
