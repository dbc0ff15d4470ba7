import pytest

from reprise.config import from_dict, to_dict
from reprise.errors import ConfigError
from reprise.training import Recipe, TrainingConfig


@pytest.mark.parametrize(
    ("events", "tokens"),
    [(100, 256), (240 * 1000, 1000), (988_129, 4096), (10**9, 4096)],
)
def test_a_small_log_has_small_steps(events: int, tokens: int) -> None:
    assert TrainingConfig().tokens_for(events) == tokens


def test_tokens_that_are_said_are_taken() -> None:
    assert TrainingConfig(tokens=77).tokens_for(10**9) == 77


def test_a_recipe_goes_to_a_file_and_back() -> None:
    recipe = Recipe(training=TrainingConfig(epochs=3, metric="mrr@20"))
    assert from_dict(to_dict(recipe), Recipe) == recipe


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"training": {"epohs": 3}}, r"unknown field 'training\.epohs'; did you mean 'training\.epochs'\?"),
        ({"training": {"epochs": 0}}, r"training\.epochs must be at least 1, got 0"),
        ({"trainig": {}}, r"unknown field 'trainig'; did you mean 'training'\?"),
    ],
)
def test_a_wrong_recipe_is_told(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(section, Recipe)
