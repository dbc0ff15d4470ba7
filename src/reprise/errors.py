"""The errors a user can cause. Each is a `ValueError` and says what is wrong, the value, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class RepriseError(ValueError):
    """Base of the errors below, so that a caller can catch them together."""


class DataError(RepriseError):
    """An event log, an item table, a split or a prepared dataset that cannot be used as it is."""


class LeakError(DataError):
    """Training, or the inputs of a target, know what they are asked about: figures from it would be too good."""


class ConfigError(RepriseError):
    """A spec, a recipe or an option with an unknown field or an impossible value."""


class DivergedError(RepriseError):
    """Training met a loss that is not a finite number, and stopped before it could spoil the weights."""


class ArtefactError(RepriseError):
    """A saved model or a run directory that is incomplete, altered, or of another format."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known one, or all of them.

    >>> did_you_mean("leraning_rate", ["learning_rate", "epochs"])
    "; did you mean 'learning_rate'?"
    """
    names = [str(other) for other in known]
    folded = {other.lower(): other for other in reversed(names)}
    near = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[near[0]]!r}?" if near else f"; known: {', '.join(names) or 'none'}"
