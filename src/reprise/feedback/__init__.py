"""Analysis of served recommendations: click rates, A/B tests, off-policy estimates and drift. Needs no torch."""

from reprise.lazy_names import lazy_names

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
