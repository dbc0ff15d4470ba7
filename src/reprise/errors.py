"""Errors that a user can cause. Each is a `ValueError` that states the fault, the value and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class RepriseError(ValueError):
    """Base class of all errors below."""


class DataError(RepriseError):
    """An event log, an item table, a split or a prepared dataset is invalid."""


class LeakError(DataError):
    """The training data, or the inputs of a target, contain the target, so that metrics would be too high."""


class ConfigError(RepriseError):
    """A spec, a recipe or an option has an unknown field or an invalid value."""


class DivergedError(RepriseError):
    """The training loss is not finite; training stopped before it updated the weights."""


class ArtefactError(RepriseError):
    """A saved model or a run directory is incomplete, was changed, or has another format."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the most similar known name, or all known names.

    >>> did_you_mean("leraning_rate", ["learning_rate", "epochs"])
    "; did you mean 'learning_rate'?"
    """
    names = [str(other) for other in known]
    by_lower_case = {other.lower(): other for other in reversed(names)}
    similar = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return (
        f"; did you mean {by_lower_case[similar[0]]!r}?"
        if similar
        else f"; known: {', '.join(names) or 'none'}"
    )
