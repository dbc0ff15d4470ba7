"""Text encoders of the library sentence-transformers.

Shape letters: M texts, D width of the vectors.
"""

from collections.abc import Sequence

import numpy as np

from reprise.arrays import Float32Array
from reprise.content.encoders.optional_library import import_library
from reprise.errors import ConfigError


class SentenceEncoder:
    """A text encoder of sentence-transformers, such as `all-MiniLM-L6-v2`, on the CPU."""

    def __init__(self, model: str) -> None:
        """Load the network.

        Args:
            model: Directory of the model, or its name, by which sentence-transformers downloads it.

        Raises:
            ConfigError: sentence-transformers is missing or cannot load the model.
        """
        library = import_library("sentence_transformers", "SentenceEncoder", "reprise[text]")
        try:
            self._model = library.SentenceTransformer(model, device="cpu")
        except Exception as error:  # errors of several libraries and of downloads
            raise ConfigError(f"sentence-transformers cannot load {model!r}: {error}") from None

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        """Return the vectors of texts, [M, D]."""
        return np.asarray(self._model.encode(list(texts), show_progress_bar=False), np.float32)
