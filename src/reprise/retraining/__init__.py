"""Retraining: a new run that starts from an earlier one, and the comparison of both on the same new events."""

from reprise.lazy_names import lazy_names

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
