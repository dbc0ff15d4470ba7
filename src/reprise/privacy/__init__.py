"""Measures of what a model reveals, and ways to reveal less: audits, pseudonyms, encrypted scoring."""

import lazy_loader

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
