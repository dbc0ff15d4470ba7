from dataclasses import replace
from typing import Any

import pytest

from reprise.config import apply_overrides, from_dict, to_dict
from reprise.errors import ConfigError
from reprise.models.items.content_embeddings import ItemContent
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.linear_fold import LinearFold
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.transformer import Transformer
from reprise.testing import worlds
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import SampledSoftmax
from reprise.training.privacy_config import Privacy
from reprise.training.recipe import Recipe, TrainingConfig, recipe_for

DATA = worlds.cycle(sequences=10, items=5)
PRIVACY = Privacy(epsilon=4, users=6000)


def resolved(model: Any = None, privacy: Privacy = PRIVACY, **training: Any) -> Recipe:
    return recipe_for(model or Recurrent(), DATA, TrainingConfig(privacy=privacy, **training))


def test_overrides_and_toml_set_the_privacy() -> None:
    data = apply_overrides({}, ["training.privacy.epsilon=4", "training.privacy.users=6000"], Recipe)
    recipe = from_dict(data, Recipe)
    assert recipe.training.privacy == PRIVACY
    assert from_dict(to_dict(recipe), Recipe) == recipe


def test_defaults_become_the_private_values() -> None:
    recipe = resolved()
    assert recipe.training.patience == 0 and recipe.training.refit == 0 and recipe.training.metric == ""
    assert isinstance(recipe.model, LinearFold)
    assert recipe_for(recipe, DATA) == recipe


def test_defaults_without_privacy_are_unchanged() -> None:
    recipe = recipe_for(Recurrent(), DATA)
    assert (recipe.training.patience, recipe.training.refit, recipe.training.metric) == (3, 4, "ndcg@5")
    assert (TrainingConfig().max_patience, TrainingConfig().max_refit) == (3, 4)


def test_the_private_values_may_be_written_out() -> None:
    recipe = resolved(Recurrent(cooccurrence=0, repeats=0), patience=0, refit=0, forecast=False)
    assert isinstance(recipe.model, LinearFold)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patience", 3),
        ("refit", 4),
        ("forecast", True),
        ("epochs", 5),
        ("metric", "mrr@5"),
        ("exclude_seen", True),
        ("validation_sequences", 10),
        ("events_per_batch", 256),
        ("bptt_steps", 16),
        ("max_grad_norm", 0.5),
        ("warmup", 0.1),
        ("loss", SampledSoftmax(Negatives(count=16, power=1.0))),
    ],
)
def test_a_field_that_contradicts_privacy_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"training\.{field}=.* cannot be combined with training\.privacy: "
    ):
        resolved(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cooccurrence", 20),
        ("repeats", 50),
        ("content", ItemContent(("title",))),
        ("users", ("country",)),
        ("size", 64),
        ("dropout", 0.1),
    ],
)
def test_a_field_of_the_default_network_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{field}=.* cannot be combined with training\.privacy: "):
        resolved(Recurrent(**{field: value}))


@pytest.mark.parametrize("model", [Transformer(), Ensemble()])
def test_another_network_is_refused(model: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"model {type(model).__name__} cannot be combined with training.privacy"
    ):
        resolved(model)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [("epsilon", 0, "above 0"), ("epsilon", -1, "above 0"), ("delta", 0, "above 0"), ("delta", 1, "below 1"),
     ("users", 0, "at least 1"), ("release", 0, "above 0"), ("release", 1.5, "at most 1"), ("clip", 0, "above 0")],
)  # fmt: skip
def test_an_impossible_value_is_refused(field: str, value: float, rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"{field} must be {rule}"):
        Privacy(**{"epsilon": 4, "users": 6000, field: value})  # type: ignore[arg-type]


def test_the_number_of_users_must_be_stated() -> None:
    with pytest.raises(ConfigError, match="users"):
        from_dict(apply_overrides({}, ["training.privacy.epsilon=4"], Recipe), Recipe)


def test_a_delta_that_publishes_a_user_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.privacy\.delta is 0\.001.*1 / users = 0\.001"):
        resolved(privacy=replace(PRIVACY, users=1000, delta=1e-3))


def test_a_batch_above_the_number_of_users_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.privacy\.batch is 1024, more than .*users, 500"):
        resolved(privacy=replace(PRIVACY, users=500, release=0.6))


def test_blocks_are_trained_with_the_rest_of_the_budget() -> None:
    assert resolved().model.layers == 0
    assert resolved(privacy=replace(PRIVACY, release=0.6)).model.layers == 1
    assert resolved(LinearFold(layers=2), replace(PRIVACY, release=0.6)).model.layers == 2


def test_blocks_need_a_part_of_the_budget() -> None:
    with pytest.raises(ConfigError, match=r"model\.layers is 1, but no privacy budget is left"):
        resolved(LinearFold(layers=1), replace(PRIVACY, release=1.0))
    with pytest.raises(ConfigError, match=r"training\.privacy\.release is 0\.6, but model\.layers is 0"):
        resolved(LinearFold(layers=0), replace(PRIVACY, release=0.6))
