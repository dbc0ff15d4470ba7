"""A server of the Model Context Protocol, through which an assistant asks a saved model for recommendations."""

from reprise.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
