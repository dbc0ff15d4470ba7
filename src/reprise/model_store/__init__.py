"""A directory with the versions of a model, of which one is the current version that servers follow."""

from reprise.lazy_names import lazy_names

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
