"""What may be searched: how it is written, and what is wrong with it before anything runs."""

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
    changed,
    default_space,
    parse_options,
    parse_space,
    plain_space,
    settle_space,
)

SIZES = worlds.cycle().sizes


def settled(written: dict[str, Any], recipe: Recipe | None = None) -> Any:
    return settle_space(parse_space(written), recipe or Recipe(), SIZES)


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


def test_what_is_written_down_is_read_again() -> None:
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
            "space of model.cell: unknown cell 'gruu'; did you mean 'gru'?; a cell of your own is `module:Class`",
        ),
        ("model.size", "3..1", "space of model.size: 3..1 is no range: its low end must be below its high end"),
        ("model.size", "0..4:log", "space of model.size: 0..4:log: a range of equal factors (log) begins above 0"),
        ("model.size", "1..4:9", "space of model.size: 1..4:9: the step must be above 0 and fit into the range"),
        (
            "model.size",
            "32",
            "space of model.size: cannot read '32'; write choices, as in 32,64,128, or a range, as in 0..0.6, 1..4 or "
            "1e-4..1e-2:log",
        ),
        ("model.size", [32], "space of model.size: needs two different values at least, got [32]; one value is no search"),
        (
            "training.refit",
            "1..4",
            "training.refit cannot be searched: the last passes come when the validation part has judged; set it in the "
            "recipe",
        ),
        (
            "training.metric",
            "mrr@5,ndcg@5",
            "training.metric cannot be searched: it is what the search judges by; set it in the recipe",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_told_before_anything_runs(field: str, text: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled({field: text})
    assert str(caught.value) == message


def test_a_value_that_is_neither_is_told() -> None:
    with pytest.raises(ConfigError, match=r"space of model\.size: 3 is neither choices nor a range; write"):
        parse_space({"model": {"size": 3}})


def test_an_option_without_values_is_told() -> None:
    assert parse_options(["model.size = 1,2"]) == {"model.size": "1,2"}
    with pytest.raises(ConfigError, match=re.escape("cannot read 'model.size'; write field=values")):
        parse_options(["model.size"])


def test_a_range_of_whole_numbers_is_one_of_fractions_where_the_field_takes_them() -> None:
    space = settled({"training.weight_decay": "0..1", "model.layers": "1..3"})
    assert (space["training.weight_decay"].whole, space["model.layers"].whole) == (False, True)


def test_specs_can_be_choices() -> None:
    space = settled(
        {"training.loss": '{class="reprise.training:FullSoftmax"},{class="reprise.training:BPRMax"}'}
    )
    made = [
        changed(Recipe(), {"training.loss": value}).training.loss for value in space["training.loss"].values
    ]
    assert made == [FullSoftmax(), BPRMax()]


def test_changed_goes_as_deep_as_the_field() -> None:
    recipe = changed(Recipe(), {"model.size": 16, "training.loss.negatives.count": 64})
    assert recipe.model == Recurrent(size=16)
    assert recipe.training.loss.negatives.count == 64  # type: ignore[attr-defined]
    assert changed(Recipe(), {}) == Recipe()


def test_the_usual_space_leaves_alone_what_the_recipe_says() -> None:
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
    assert settle_space(default_space(Recipe()), Recipe(), SIZES) == default_space(Recipe())


def test_the_usual_space_of_a_network_within_another_spec() -> None:
    recipe = Recipe(Ensemble(Recurrent(size=32)), TrainingConfig(learning_rate=0.01))
    assert list(default_space(recipe)) == [
        "model.member.layers", "model.member.dropout", "model.member.item_dropout", "model.member.temperature",
    ]  # fmt: skip
    assert settle_space(default_space(recipe), recipe, SIZES) == default_space(recipe)


@pytest.mark.parametrize(
    "make", [each for name in reprise.__all__ if hasattr(each := getattr(reprise, name), "build")]
)
def test_every_network_has_a_usual_space_that_can_be_built(make: Any) -> None:
    recipe = Recipe(make())
    space = settle_space(default_space(recipe), recipe, SIZES)
    assert {"training.learning_rate"} < set(space)


def test_a_model_without_usual_fields_asks_for_a_space() -> None:
    with pytest.raises(
        ConfigError, match=r"no space is known for Counting .* \(its fields: model.smoothing\)"
    ):
        default_space(Recipe(Counting()))


FAMILIES = [Recurrent(), FeedForward(), Convolution(), Caser(), Autoencoder(), Transformer(), Adversarial()]


@pytest.mark.parametrize("model", FAMILIES, ids=lambda model: type(model).__name__)
def test_what_is_searched_holds_what_a_model_has_untold(model: Any) -> None:
    for name, part in default_space(Recipe(model)).items():
        untold = reduce(getattr, name.split("."), Recipe(model))
        if untold is not None:
            low, high = min(part.corners()), max(part.corners())
            assert low <= untold <= high, name


def test_a_default_space_can_be_written_into_a_file_and_read() -> None:
    written = plain_space(default_space(Recipe()))
    assert parse_space(written) == default_space(Recipe())
    assert from_dict({"model": {"size": 8}}, Recipe).model.size == 8


def test_choices_may_be_specs() -> None:
    """As a file gives them back, so that a search that was stopped knows its space again."""
    choices = Choices((NextItem(), Reconstruction()))
    assert choices.values == (to_dict(NextItem()), to_dict(Reconstruction()))
    assert Choices(((1, 2), (1, 4))).values == ([1, 2], [1, 4])
