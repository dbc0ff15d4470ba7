"""Item vectors that are the sum of a learned vector per item and a projection of the item's content.

Shape letters: N items that are looked up, K candidates of training, D width, F content features, I items.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from reprise.config import spec
from reprise.content.fitted_content import FittedContent
from reprise.data.vocabulary import PAD
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.nn.elementwise import unit_vectors


@spec
class ItemContent:
    """How a network reads the content of items: text, categories, numbers, dates, images or given vectors."""

    columns: tuple[Any, ...] = ()
    """Columns of the item table: names, or column specs of `reprise.content`. Default: all columns that can be used."""
    id_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the items that are represented by their content alone in a training step, so that new items work."""
    cold_cost: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of NDCG@10 over all targets that recommending new items may cost on the validation part.
    A larger share puts more new items on the lists."""
    ids: bool = True
    """Whether each item of the training part also has a learned vector. False: the network reads content only."""
    projection: Literal["learned", "fixed"] = "learned"
    """Whether the map from content to vectors is trained. `fixed` keeps given vectors as they are, up to a rotation."""


class ContentEmbeddings(ItemEmbeddings):
    """Item vectors e_i + f_i W: the sum of a learned vector and of the projected content features of an item.

    A cold item has no learned vector; its input vector is f_i W. Its output vector is g f_i W / |f_i W|, and a bias b + f_i w
    is added to its logits, so that the network can score items by content more cautiously. In each training step a random
    share of the warm items is represented in this way, as inputs and as outputs, so that W, w, g and b learn to represent
    items without events. `fit_cold_items` then fits b to the cold items of the validation part. The last number of an
    output vector is the bias.

    Args:
        items: Number of items, I, with or without a learned vector.
        size: Width of a vector, D.
        content: How content is used.
        features_IF: Content features of all items.
        warm: Number of items with a learned vector; they are the first ones.
        feature_scale: Factor of the features, so that a row has length 1 if all of its columns have values.
        unit: Whether queries are compared with normalised vectors.
        sparse: Whether training updates only the learned vectors that a step uses; see `ItemEmbeddings`.
    """

    known: Tensor
    trained: Tensor
    cold_scored: Tensor
    features: Tensor
    described: Tensor

    def __init__(
        self,
        items: int,
        size: int,
        content: ItemContent,
        features_IF: Tensor,
        warm: int,
        *,
        feature_scale: float = 1.0,
        unit: bool = False,
        sparse: bool | None = False,
    ) -> None:
        super().__init__(items, size, unit=unit, sparse=sparse)
        self.content = content
        with torch.no_grad():
            self.weight[warm + 1 :] = 0.0
            if not content.ids:
                self.weight.zero_()
        width = features_IF.shape[1]
        self.projection = nn.Parameter(torch.randn(width, size) / math.sqrt(size))
        self.projection.requires_grad_(content.projection == "learned")
        self.popularity = nn.Parameter(torch.zeros(width))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))
        # features are data and not weights: they are computed again when a run is opened
        self.feature_scale = feature_scale
        features = nn.functional.pad(features_IF * feature_scale, (0, 0, 1, 0))
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("described", (features != 0).any(1), persistent=False)
        index = torch.arange(items + 1)
        self.register_buffer("known", (index > PAD) & (index <= warm))
        self.register_buffer("trained", self.known.clone(), persistent=False)
        self.register_buffer("cold_scored", torch.zeros((), dtype=torch.bool))
        self._kept: Tensor | None = None
        self._held_out: Tensor | None = None

    def draw(self) -> None:
        """Draw the items that lose their learned vector in the next training step; in evaluation none does."""
        if not self.training:
            self._kept = None
            return
        # for the rows of a sparse step only: numbers for all items would cost time that grows with I
        rows = len(self.known) if self._rows is None else len(self._rows[0])
        self._kept = torch.rand(rows, device=self.known.device) >= self.content.id_dropout

    def _without_dropped(self, mask_I: Tensor, item: Tensor) -> Tensor:
        """Return the mask at some items, but False for those that are represented by their content alone at present."""
        found = mask_I[item]
        if self._held_out is not None:
            found = found & ~self._held_out[item]
        return found & self._kept[self._places(item)] if self.training and self._kept is not None else found

    @contextmanager
    def holding_out(self, mask: Tensor) -> Iterator[None]:
        """Represent the items of a mask [I + 1] as if they had no learned vectors, as a context manager."""
        self._held_out = mask
        try:
            yield
        finally:
            self._held_out = None

    def forward(self, item: Tensor) -> Tensor:
        """Return the raw vectors of item indices, [..., D]. `PAD` has the zero vector."""
        return self._vectors_and_bias(item)[0]

    def _vectors_and_bias(self, item: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw vectors [..., D], and the f_i w of the biases [..., 1]."""
        # without ids the learned vectors are multiplied by 0, because a sparse table needs their gradient
        reads_id = self._without_dropped(self.known, item) & self.content.ids
        own = super().forward(item) * reads_id.unsqueeze(-1)
        maps = torch.cat([self.projection, self.popularity.unsqueeze(1)], dim=1)
        mapped = embedding(item, self.features) @ maps
        return own + mapped[..., :-1], mapped[..., -1:]

    def learn(self, item_N: Tensor) -> None:
        """Give these items learned vectors, which start at zero, and keep W, w, g and b as they are from now on.

        The map was learned from all items of the training part. A few passes over later events would fit it to the items
        that happen to be new in them, and it would represent other new items worse.
        """
        self.known[item_N] = True
        for parameter in (self.projection, self.popularity, self.log_scale, self.bias):
            parameter.requires_grad_(False)

    def is_candidate(self, item: Tensor) -> Tensor:
        """Return whether items have learned vectors, bool [...]."""
        found: Tensor = self.known[item]
        return found

    def candidate_items(self) -> Tensor:
        """Return the indices of the items with learned vectors, int64 [K], ascending."""
        return self.known.nonzero().squeeze(1)

    @property
    def candidates(self) -> int:
        """Number of items with learned vectors."""
        return int(self.known.sum())

    def candidate_columns(self, item_N: Tensor) -> Tensor:
        """Return the place of items among those with learned vectors, int64 [N]."""
        column_I: Tensor = self.known.cumsum(0) - 1
        return column_I[item_N]

    def candidate_vectors(self) -> Tensor:
        """Return the output vectors of the items with learned vectors, [K, D + 1]."""
        return self.scoring_rows(self.candidate_items())

    @property
    def vectors_ID(self) -> Tensor:
        """The raw vectors of items 1..I."""
        vector_ID: Tensor = self(self._all())
        return vector_ID

    def scoring_ID(self) -> Tensor:
        """Return the output vectors of items 1..I with their biases, [I, D + 1]."""
        return self.scoring_rows(self._all())

    def scoring_rows(self, item_N: Tensor) -> Tensor:
        """Return the output vectors of the items `item_N` with their biases, [N, D + 1]."""
        vector_ND, popularity_N1 = self._vectors_and_bias(item_N)
        is_warm_N1 = self._without_dropped(self.trained, item_N).unsqueeze(1)
        scored_N1 = self.described[item_N].unsqueeze(1)
        if not self.training:
            scored_N1 = scored_N1 & self.cold_scored
        if self.unit:
            vector_ND = unit_vectors(vector_ND)
        vector_ND = torch.where(is_warm_N1, vector_ND, vector_ND * self.log_scale.exp() * scored_N1)
        bias_N1 = torch.where(scored_N1, self.bias + popularity_N1, FittedContent.NO_CONTENT)
        return torch.cat([vector_ND, torch.where(is_warm_N1, 0.0, bias_N1)], dim=1)

    def tables(self) -> dict[str, Tensor]:
        """Return the arrays by which a server computes vectors from the features of `FittedContent`.

        `projection` [F, D] is W, `popularity` [F] is w, and `numbers` [4] are g, b, whether vectors are normalised, and
        whether items without a learned vector are scored.
        """
        numbers = [self.log_scale.exp(), self.bias, self.bias.new_tensor(self.unit), self.cold_scored.float()]
        return {
            "projection": self.projection * self.feature_scale,
            "popularity": self.popularity * self.feature_scale,
            "numbers": torch.stack(numbers),
        }

    def _all(self) -> Tensor:
        assert PAD == 0
        return torch.arange(1, len(self.weight), device=self.weight.device)
