"""Item content: the columns of the item table as feature vectors. Does not import torch."""

import lazy_loader

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
