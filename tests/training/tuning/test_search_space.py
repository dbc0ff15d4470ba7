"""Search spaces: their syntax, and errors before the search starts."""

import re
from functools import reduce
from typing import Any

import pytest
from counting_spec import Counting

import reprise
from reprise.config import from_dict, to_dict
from reprise.errors import ConfigError
from reprise.models.networks.adversarial import Adversarial
from reprise.models.networks.autoencoder import Autoencoder
from reprise.models.networks.convolutional import Caser, Convolution
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.feed_forward import FeedForward
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.transformer import Transformer
from reprise.testing import worlds
from reprise.training import Recipe, TrainingConfig
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.sampled_losses import BPRMax
from reprise.training.objectives import NextItem, Reconstruction
from reprise.training.tuning.search_space import (
    Choices,
    Range,
    current_name,
    default_space,
    parse_options,
    parse_space,
    plain_space,
    resolve_space,
    with_values,
)

SIZES = worlds.cycle().sizes


def resolved(written: dict[str, Any], recipe: Recipe | None = None) -> Any:
    return resolve_space(parse_space(written), recipe or Recipe(), SIZES)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("32,64,128", Choices((32, 64, 128))),
        ("gru, rglru", Choices(("gru", "rglru"))),
        ("true,false", Choices((True, False))),
        ([0.1, 0.2], Choices((0.1, 0.2))),
        ("1..4", Range(1, 4)),
        ("0..0.6", Range(0, 0.6)),
        ("-1.5..2e3", Range(-1.5, 2000.0)),
        ("0..0.6:0.1", Range(0, 0.6, step=0.1)),
        ("1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("16 .. 256 : log", Range(16, 256, log=True)),
    ],
)
def test_choices_and_ranges(text: Any, meant: Choices | Range) -> None:
    assert parse_space({"model.size": text}) == {"model.size": meant}


def test_sections_are_dotted_fields() -> None:
    written = {"model": {"size": [16, 32], "dropout": "0..0.5"}, "training.learning_rate": "1e-3..1e-2:log"}
    assert list(parse_space(written)) == ["model.size", "model.dropout", "training.learning_rate"]


def test_a_space_survives_a_file() -> None:
    space = parse_space({"a": "1,2", "b": "1..4", "c": "0..0.6:0.1", "d": "1e-05..1e-2:log"})
    assert parse_space(plain_space(space)) == space


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("model.sizee", "1..3", "space of model.sizee: unknown field 'model.sizee'; did you mean 'model.size'?"),
        ("modl.size", "1..3", "space of modl.size: unknown field 'modl'; did you mean 'model'?"),
        ("model.size", "0..3", "space of model.size: model.size must be at least 1, got 0"),
        ("model.dropout", "0..1", "space of model.dropout: model.dropout must be below 1, got 1.0"),
        (
            "model.cell",
            "gru,gruu",
            "space of model.cell: unknown cell 'gruu' (write your own as `module:Class`); did you mean 'gru'?",
        ),
        ("model.size", "3..1", "space of model.size: 3..1 is not a range: the low end must be below the high end"),
        ("model.size", "0..4:log", "space of model.size: 0..4:log: a logarithmic range must begin above 0"),
        ("model.size", "1..4:9", "space of model.size: 1..4:9: the step must be above 0 and at most the width of the range"),
        (
            "model.size",
            "32",
            "space of model.size: cannot read '32'; write choices such as 32,64,128, or a range such as 0..0.6, 1..4 or "
            "1e-4..1e-2:log",
        ),
        (
            "model.size",
            [32],
            "space of model.size: needs at least two different values, got [32]; set a single value in the recipe",
        ),
        (
            "training.refit",
            "1..4",
            "training.refit cannot be searched: trials are compared before the refit; set it in the recipe",
        ),
        (
            "training.metric",
            "mrr@5,ndcg@5",
            "training.metric cannot be searched: trials with different metrics cannot be compared; set it in the recipe",
        ),
    ],
)  # fmt: skip
def test_a_wrong_space_is_an_error_before_the_search(field: str, text: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolved({field: text})
    assert str(caught.value) == message


def test_a_value_that_is_neither_choices_nor_range_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"space of model\.size: 3 is neither choices nor a range; write"):
        parse_space({"model": {"size": 3}})


def test_an_option_without_values_is_an_error() -> None:
    assert parse_options(["model.size = 1,2"]) == {"model.size": "1,2"}
    with pytest.raises(ConfigError, match=re.escape("cannot read 'model.size'; write field=values")):
        parse_options(["model.size"])


def test_an_integer_range_of_a_field_with_fractions_has_fractions() -> None:
    space = resolved({"training.weight_decay": "0..1", "model.layers": "1..3"})
    assert (space["training.weight_decay"].is_integer, space["model.layers"].is_integer) == (False, True)


def test_specs_can_be_choices() -> None:
    space = resolved(
        {"training.loss": '{class="reprise.training:FullSoftmax"},{class="reprise.training:BPRMax"}'}
    )
    made = [
        with_values(Recipe(), {"training.loss": value}).training.loss
        for value in space["training.loss"].values
    ]
    assert made == [FullSoftmax(), BPRMax()]


def test_values_can_be_set_at_any_depth() -> None:
    recipe = with_values(Recipe(), {"model.size": 16, "training.loss.negatives.count": 64})
    assert recipe.model == Recurrent(size=16)
    assert recipe.training.loss.negatives.count == 64  # type: ignore[attr-defined]
    assert with_values(Recipe(), {}) == Recipe()


def test_the_default_space_omits_fields_that_the_recipe_sets() -> None:
    assert list(default_space(Recipe())) == [
        "model.size",
        "model.layers",
        "model.dropout",
        "model.item_dropout",
        "model.temperature",
        "training.learning_rate",
    ]
    narrow = Recipe(Recurrent(size=32, residual=False), TrainingConfig(learning_rate=0.01))
    assert list(default_space(narrow)) == ["model.layers", "model.dropout", "model.item_dropout"]
    assert resolve_space(default_space(Recipe()), Recipe(), SIZES) == default_space(Recipe())


def test_the_default_space_of_an_ensemble_is_that_of_its_member() -> None:
    recipe = Recipe(Ensemble(Recurrent(size=32)), TrainingConfig(learning_rate=0.01))
    assert list(default_space(recipe)) == [
        "model.member.layers", "model.member.dropout", "model.member.item_dropout", "model.member.temperature",
    ]  # fmt: skip
    assert resolve_space(default_space(recipe), recipe, SIZES) == default_space(recipe)


@pytest.mark.parametrize(
    "make", [each for name in reprise.__all__ if hasattr(each := getattr(reprise, name), "build")]
)
def test_every_network_has_a_default_space_that_can_be_built(make: Any) -> None:
    recipe = Recipe(make())
    space = resolve_space(default_space(recipe), recipe, SIZES)
    assert {"training.learning_rate"} < set(space)


def test_a_model_without_a_default_space_needs_one() -> None:
    with pytest.raises(
        ConfigError, match=r"Counting has no default space .* \(its fields: model.smoothing\)"
    ):
        default_space(Recipe(Counting()))


FAMILIES = [Recurrent(), FeedForward(), Convolution(), Caser(), Autoencoder(), Transformer(), Adversarial()]


@pytest.mark.parametrize("model", FAMILIES, ids=lambda model: type(model).__name__)
def test_the_default_space_contains_the_default_values(model: Any) -> None:
    for name, part in default_space(Recipe(model)).items():
        default = reduce(getattr, name.split("."), Recipe(model))
        if default is not None:
            low, high = min(part.endpoints()), max(part.endpoints())
            assert low <= default <= high, name


def test_a_default_space_survives_a_file() -> None:
    written = plain_space(default_space(Recipe()))
    assert parse_space(written) == default_space(Recipe())
    assert from_dict({"model": {"size": 8}}, Recipe).model.size == 8


def test_choices_of_specs_are_dictionaries() -> None:
    """They equal the choices read from a file, so that a resumed search recognises its space."""
    choices = Choices((NextItem(), Reconstruction()))
    assert choices.values == (to_dict(NextItem()), to_dict(Reconstruction()))
    assert Choices(((1, 2), (1, 4))).values == ([1, 2], [1, 4])


def test_former_names_become_current_ones() -> None:
    assert current_name(Recipe(), "training.tokens") == "training.events_per_batch"
    assert current_name(Recipe(), "model.size") == "model.size"
    assert list(resolved({"training.tokens": "256,512"})) == ["training.events_per_batch"]
