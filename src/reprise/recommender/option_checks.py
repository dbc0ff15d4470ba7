"""Check of `k`, the number of items of an answer."""

from math import inf

from reprise.argument_checks import whole


def at_most(k: object, items: int) -> int:
    """Return the number of items to answer with: `k`, or all of them if there are fewer.

    Raises:
        ConfigError: `k` is not a whole number of at least 1.
    """
    return min(whole("k", k, high=inf), items)
