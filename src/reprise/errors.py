"""Errors that a user can cause. Each is a `ValueError` that states the fault, the value and the remedy."""

import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class RepriseError(ValueError):
    """Base class of all errors below."""


class DataError(RepriseError):
    """An event log, an item table, a split or a prepared dataset is invalid."""


class LeakError(DataError):
    """The training data, or the inputs of a target, contain the target, so that metrics would be too high."""


class ConfigError(RepriseError):
    """A spec, a recipe or an option has an unknown field or an invalid value."""


class MissingLibraryError(ConfigError, ImportError):
    """A library that only some work needs is not installed."""


class DivergedError(RepriseError):
    """The training loss is not finite; training stopped before it updated the weights."""


class ProcessEndedError(RepriseError):
    """Another process of a training on several processes has ended or failed."""


class ArtefactError(RepriseError):
    """A saved model, a run or a report is incomplete, was changed, has another format, or cannot be written."""


def command_line(*words: object) -> str:
    """Return a command for a message or for "next:", quoted so that it can be pasted into a shell.

    >>> command_line("reprise", "train", Path("my data"), "--out", Path("-run"))
    "reprise train 'my data' --out ./-run"
    """
    texts = [
        f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words
    ]
    return shlex.join(texts)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the most similar known name, or all known names.

    >>> did_you_mean("leraning_rate", ["learning_rate", "epochs"])
    "; did you mean 'learning_rate'?"
    """
    names = [str(other) for other in known]
    return similar_name(name, names) or f"; known: {', '.join(names) or 'none'}"


def similar_name(name: object, known: Iterable[str]) -> str:
    """Return the end of a message with the known name that is most similar to an unknown one; "" if none is similar."""
    by_lower_case = {other.lower(): other for other in reversed([*known])}
    similar = get_close_matches(str(name).lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean {by_lower_case[similar[0]]!r}?" if similar else ""
