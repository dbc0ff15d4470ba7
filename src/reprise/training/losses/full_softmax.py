"""Softmax cross-entropy over the whole catalogue.

Shape letters: N targets, I items, D width.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from reprise.config import spec
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.chunked_softmax import SoftmaxTask, chunked_softmax
from reprise.training.losses.loss import product_dtype
from reprise.training.losses.negatives import Sample


@spec
class FullSoftmax:
    """Cross-entropy over the whole catalogue: -log softmax(query @ vectors.T)[target].

    Each chunk of rows computes its own gradients in the forward pass, so memory does not grow with targets times items.
    Under autocast the matrix products run in the lower precision and the softmax in float32.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target's weight that is spread over all items (Szegedy et al. 2016, section 7)."""

    @property
    def negatives(self) -> None:
        """None, because the loss is over all items."""
        return None

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemEmbeddings,
        target_N: Tensor,
        sample: Sample | None = None,
    ) -> Tensor:
        """Return the sum of the losses of all targets, a scalar in float32; see `Loss`."""
        vectors_ID = items.candidate_vectors()
        product = product_dtype(query_ND.device, vectors_ID.dtype)
        column_N = items.candidate_columns(target_N)
        task = SoftmaxTask(product, column_N, column_N, smoothing=self.label_smoothing)
        return chunked_softmax(query_ND, vectors_ID, task)
