"""The errors a user meets, and the tail of their messages."""

import pytest

from reprise.errors import ArtefactError, ConfigError, DataError, RepriseError, did_you_mean


@pytest.mark.parametrize("error", [DataError, ConfigError, ArtefactError])
def test_every_error_is_a_value_error_and_can_be_caught_with_the_others(error: type[RepriseError]) -> None:
    assert issubclass(error, ValueError)
    assert issubclass(error, RepriseError)


@pytest.mark.parametrize(
    ("name", "known", "tail"),
    [
        ("leraning_rate", ["learning_rate", "epochs"], "; did you mean 'learning_rate'?"),
        ("ItemID", ["item_id", "user_id"], "; did you mean 'item_id'?"),
        ("zzz", ["learning_rate", "epochs"], "; known: learning_rate, epochs"),
        ("anything", [], "; known: none"),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_all_known_ones(name: str, known: list[str], tail: str) -> None:
    assert did_you_mean(name, known) == tail
