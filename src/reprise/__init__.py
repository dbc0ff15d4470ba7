"""Reprise: recurrent recommendation, from an event log to next-item recommendations.

`__init__.pyi` lists the public names. Each is imported on first use, so that `import reprise` loads neither torch nor a
table engine.
"""

import os
from importlib import import_module
from typing import Any

from reprise.lazy_names import lazy_names

# Idle OpenMP threads spin by default. When another process uses the same cores, they then spend most of their time
# waiting for each other. torch reads this variable once, when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_load, _names, __all__ = lazy_names(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # read on demand only, because reading the package metadata takes tens of milliseconds
        from importlib.metadata import version

        return version("reprise")
    if name == "datasets":
        return import_module("reprise.datasets")
    return _load(name)


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
