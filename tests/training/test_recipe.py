import pytest

from reprise.config import from_dict, to_dict
from reprise.errors import ConfigError
from reprise.training import Recipe, TrainingConfig


@pytest.mark.parametrize(
    ("events", "sequences", "events_per_batch"),
    [
        (100, 10, 256),
        (240 * 1000, 48_000, 1000),  # a 240th of the events
        (10**9, 10**8, 4096),
        (10**9, 2 * 10**7, 1024),  # 50 events per sequence: smaller batches
        (240 * 500, 1000, 500),
    ],
)
def test_small_logs_and_long_histories_have_small_batches(
    events: int, sequences: int, events_per_batch: int
) -> None:
    assert TrainingConfig().events_per_batch_for(events, sequences) == events_per_batch


def test_explicit_events_per_batch_are_used() -> None:
    assert TrainingConfig(events_per_batch=77).events_per_batch_for(10**9, 10**6) == 77


@pytest.mark.parametrize(("width", "rate"), [(8, 8e-3), (64, 8e-3), (128, 4e-3), (256, 2e-3), (512, 1e-3)])
def test_wide_networks_have_small_learning_rates(width: int, rate: float) -> None:
    assert TrainingConfig().learning_rate_for(width) == pytest.approx(rate)


def test_an_explicit_learning_rate_is_used() -> None:
    assert TrainingConfig(learning_rate=0.3).learning_rate_for(8) == 0.3


def test_a_recipe_survives_a_file() -> None:
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
def test_a_wrong_recipe_is_an_error(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(section, Recipe)
