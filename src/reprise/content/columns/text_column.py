"""Text: terms weighted by TF-IDF and compressed by truncated SVD, or the vectors of an encoder."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import NAMES_CLASS, Trust
from reprise.config import spec
from reprise.content.column_spec import FitContext, FittedColumn, Tensors, check_known
from reprise.content.columns.term_vectors import NGRAMS, Terms, TermVectors, fit_terms
from reprise.content.columns.value_encoder import Batch, fit_encoded, restore_encoded, text_batches
from reprise.content.item_rows import ItemRows
from reprise.errors import ConfigError, DataError, did_you_mean

METHODS = ("auto", "words", "characters")
"""Ways to encode text that need no encoder class."""
MAX_UNKNOWN = 0.05
"""Share of texts without a known word from which `auto` reads characters."""
WARN_UNKNOWN = 0.9
"""Share of texts without a known term from which a warning is given."""


@spec
class Text:
    """A column of text in any language, such as titles or descriptions; also lists of texts, such as tags."""

    column: str
    """Name of the column."""
    encoder: Annotated[str, NAMES_CLASS] = "auto"
    """`words`, `characters` (n-grams within words), or a class `module:Class` whose objects turn a list of texts into an
    array of vectors, such as `reprise.content:SentenceEncoder`. `auto` reads words, or characters if more than 5 % of the
    texts have no word that another text has."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the encoder class by name."""
    size: Annotated[int, Field(ge=1)] = 256
    """Largest number of features; more are compressed by truncated SVD or PCA. docs/experiments.md has the measurements."""
    ngrams: tuple[int, int] | None = None
    """Smallest and largest length of n-grams. Default: single words, or 2 to 4 characters."""

    def __post_init__(self) -> None:
        if ":" not in self.encoder and self.encoder not in METHODS:
            raise ConfigError(
                f"encoder must be a class module:Class or one of {', '.join(METHODS)}, got {self.encoder!r}"
                f"{did_you_mean(self.encoder, METHODS)}"
            )
        if self.options and ":" not in self.encoder:
            raise ConfigError(
                f"options are the arguments of an encoder class, and {self.encoder!r} is not one"
            )
        if self.ngrams and not 1 <= self.ngrams[0] <= self.ngrams[1]:
            raise ConfigError(f"ngrams must be the smallest and the largest length, got {self.ngrams}")

    def other_columns(self) -> tuple[str, ...]:
        """Return nothing: text depends on its own column only."""
        return ()

    @property
    def kind(self) -> str:
        """What the values are, for a listing."""
        return "text"

    def batches(self, rows: ItemRows) -> Iterator[Batch]:
        """Yield the rows whose text is not blank, in batches for an encoder."""
        return text_batches(rows.texts(self.column))

    def fit(self, context: FitContext) -> FittedColumn:
        """Fit the terms and their compression, or the compression of the vectors of the encoder."""
        texts = [text for text in context.rows.texts(self.column) if text.strip()]
        check_known(self.column, len(texts))
        if ":" in self.encoder:
            return fit_encoded(self, context.rows)
        fitted = self._fit_terms(texts)
        unknown = fitted.unknown_share(texts)
        if unknown > WARN_UNKNOWN:
            warnings.warn(
                f"column {self.column!r}: {unknown:.0%} of the texts have no known {fitted.kind[:-1]}; these items have no "
                "features of this column",
                stacklevel=2,
            )
        return FittedText(self, fitted)

    def _fit_terms(self, texts: list[str]) -> TermVectors:
        if self.encoder == "auto":
            words = self._terms(texts, "words", min_texts=2)
            if words and words.unknown_share(texts) <= MAX_UNKNOWN:
                return words
        kind: Terms = "words" if self.encoder == "words" else "characters"
        # terms of a single text say nothing about other texts, but they are better than none
        found = self._terms(texts, kind, min_texts=2) or self._terms(texts, kind, min_texts=1)
        if not found:
            raise DataError(
                f"column {self.column!r} has no text with a word; declare it as Category, or leave it out"
            )
        return found

    def _terms(self, texts: list[str], kind: Terms, min_texts: int) -> TermVectors | None:
        return fit_terms(texts, kind, self.ngrams or NGRAMS[kind], self.size, min_texts)

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> FittedColumn:
        """Create the fitted column from its parameters."""
        if ":" in self.encoder:
            return restore_encoded(self, state, tensors, trusted)
        return FittedText(self, TermVectors.restore(state, tensors))


@dataclass(frozen=True, eq=False)
class FittedText:
    """A fitted column of text by its terms. Meets `FittedColumn`."""

    spec: Text
    """The spec."""
    terms: TermVectors
    """The terms."""

    @property
    def width(self) -> int:
        """Number of features."""
        return self.terms.width

    @property
    def explained(self) -> float:
        """Share of the variance that is left after compression."""
        return self.terms.explained

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the features of the texts, [M, F]."""
        return self.terms.encode(rows.texts(self.spec.column))

    def state(self) -> dict[str, Any]:
        """Return the kind of terms and the explained variance."""
        return self.terms.state()

    def tensors(self) -> dict[str, AnyArray]:
        """Return the terms, their weights and components."""
        return self.terms.tensors()

    def describe(self) -> str:
        """Return the number of terms."""
        return f"text, {len(self.terms.terms):,} {'words' if self.terms.kind == 'words' else 'character n-grams'}"
