"""Recommendations on Apache Spark, for event logs that are larger than one machine. Needs the extra `reprise[spark]`."""

import lazy_loader

# the public names are listed once, in __init__.pyi
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
