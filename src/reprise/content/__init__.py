"""Item content: the columns of the item table as feature vectors. Does not import torch."""

from reprise.lazy_names import lazy_names

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
