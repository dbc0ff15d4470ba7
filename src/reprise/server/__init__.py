"""The HTTP server: an event log, cached user states, and recommendations. No torch."""

import lazy_loader

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
