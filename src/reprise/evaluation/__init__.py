"""Evaluation by full ranking: metrics with intervals, reports that state their protocol, comparisons."""

import lazy_loader

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
