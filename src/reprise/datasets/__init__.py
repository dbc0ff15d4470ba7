"""Well-known public logs and files of other libraries, read from a path into events that `prepare` accepts."""

from reprise.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
