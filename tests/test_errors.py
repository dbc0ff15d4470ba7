"""Errors that a user can cause, and the suggestions at the end of their messages."""

import pytest

from reprise.errors import ArtefactError, ConfigError, DataError, RepriseError, did_you_mean


@pytest.mark.parametrize("error", [DataError, ConfigError, ArtefactError])
def test_every_error_is_a_value_error_and_a_reprise_error(error: type[RepriseError]) -> None:
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
def test_did_you_mean_suggests_the_most_similar_name_or_lists_all(
    name: str, known: list[str], tail: str
) -> None:
    assert did_you_mean(name, known) == tail
