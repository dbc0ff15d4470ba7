"""A trained model outside training: the saved model, its execution without torch, and recommendations."""

import lazy_loader

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
