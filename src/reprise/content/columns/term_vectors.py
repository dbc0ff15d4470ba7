"""TF-IDF of words or of character n-grams with truncated SVD (latent semantic analysis).

Shape letters: M texts, V terms, K components.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.content.column_spec import Tensors, check_tensor
from reprise.content.columns.linear_compression import fit_svd

Terms = Literal["words", "characters"]
"""What the terms of a text are."""
NGRAMS: dict[Terms, tuple[int, int]] = {"words": (1, 1), "characters": (2, 4)}
"""Default lengths of n-grams."""
MAX_TERMS = 30_000
"""Largest number of terms, most frequent first."""
END = "\0"
"""Separator of terms in the array that stores them; texts do not contain it after normalisation."""


def normalised(text: str) -> str:
    """Return a text in one form: compatible characters composed (NFKC), without case."""
    return unicodedata.normalize("NFKC", text).casefold().replace(END, " ")


@dataclass(frozen=True, eq=False)
class TermVectors:
    """A fitted vocabulary of terms with their weights and components."""

    kind: Terms
    """What the terms are."""
    ngrams: tuple[int, int]
    """Smallest and largest length of n-grams, in words or in characters."""
    terms: list[str]
    """The terms, V."""
    idf_V: Float32Array
    """Inverse document frequency of each term."""
    component_VK: Float32Array | None = None
    """Components of the truncated SVD; None if there are few terms."""
    explained: float = 1.0
    """Share of the variance that is left after compression."""

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.terms) if self.component_VK is None else self.component_VK.shape[1]

    @cached_property
    def _vectorizer(self) -> Any:
        vectorizer = _vectorizer(self.kind, self.ngrams, vocabulary=self.terms)
        vectorizer.idf_ = self.idf_V
        return vectorizer

    def weights(self, texts: Sequence[str]) -> Any:
        """Return the TF-IDF weights of texts as a sparse matrix, [M, V], in rows of length 1."""
        return self._vectorizer.transform(texts)

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the features of texts, [M, K]; 0 for a text without a known term."""
        weight_MV = self.weights(texts)
        dense = weight_MV.toarray() if self.component_VK is None else weight_MV @ self.component_VK
        return np.asarray(dense, np.float32)

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Return the share of texts without a known term."""
        return float((np.diff(self.weights(texts).indptr) == 0).mean()) if len(texts) else 0.0

    def state(self) -> dict[str, Any]:
        """Return the parameters that are not arrays, as JSON values."""
        return {"terms": self.kind, "ngrams": list(self.ngrams), "explained": self.explained}

    def tensors(self) -> dict[str, AnyArray]:
        """Return the parameters that are arrays. Terms are UTF-8, separated by NUL."""
        terms = np.frombuffer(END.join(self.terms).encode(), np.uint8)
        components = {} if self.component_VK is None else {"components": self.component_VK}
        return {"terms": terms, "idf": self.idf_V, **components}

    @classmethod
    def restore(cls, state: Any, tensors: Tensors) -> "TermVectors":
        """Create the vocabulary from its parameters.

        Raises:
            DataError: The arrays do not fit together.
        """
        terms = np.asarray(tensors["terms"], np.uint8).tobytes().decode().split(END)
        idf_V = check_tensor("idf", tensors["idf"], (len(terms),))
        component_VK = None
        if "components" in tensors:
            component_VK = check_tensor("components", tensors["components"], (len(terms), None))
        kind: Terms = "words" if state["terms"] == "words" else "characters"
        first, last = map(int, state["ngrams"])
        return cls(kind, (first, last), terms, idf_V, component_VK, float(state["explained"]))


def fit_terms(
    texts: Sequence[str], kind: Terms, ngrams: tuple[int, int], size: int, min_texts: int
) -> TermVectors | None:
    """Fit the terms that occur in at least `min_texts` texts.

    Returns:
        The terms; None if there are none, for example if the texts have no word.
    """
    vectorizer = _vectorizer(kind, ngrams, min_df=min_texts, max_features=MAX_TERMS)
    try:
        weight_MV = vectorizer.fit_transform(texts)
    except ValueError:  # no term is left
        return None
    terms = vectorizer.get_feature_names_out().tolist()
    component_VK, explained = fit_svd(weight_MV, size)
    return TermVectors(kind, ngrams, terms, vectorizer.idf_.astype(np.float32), component_VK, explained)


def _vectorizer(kind: Terms, ngrams: tuple[int, int], **options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer="word" if kind == "words" else "char_wb",
        ngram_range=ngrams,
        preprocessor=normalised,
        token_pattern=r"\w+" if kind == "words" else None,
        sublinear_tf=True,
        dtype=np.float32,
        **options,
    )
