"""Names of columns: a check that they are distinct, and lists of them in messages."""

from collections.abc import Sequence

from reprise.errors import DataError

NAMES_SHOWN = 20
"""Largest number of column names in a message."""


def check_column_names(names: Sequence[str], where: str = "the table") -> None:
    """Check that no two columns have the same name; the table engine ignores case.

    Args:
        names: The names.
        where: What has the columns, for the message.

    Raises:
        DataError: Two columns have the same name, or names that differ only in case.
    """
    first: dict[str, str] = {}
    for name in names:
        if name.lower() not in first:
            first[name.lower()] = name
            continue
        other = first[name.lower()]
        if other == name:
            raise DataError(
                f"{where} has {names.count(name)} columns named {name!r}; rename or drop all but one of them"
            )
        raise DataError(
            f"{where} has the columns {other!r} and {name!r}, whose names differ only in case; rename or drop one of them"
        )


def join_names(names: Sequence[str]) -> str:
    """Return the first names, separated by commas, and the number of the others."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more
