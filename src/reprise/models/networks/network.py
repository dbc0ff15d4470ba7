"""What every network here is besides its encoder: item vectors, what is read of an event, how answers are compared, what is
added to them. A family is one spec more that says how its encoder is made.
"""

import math
from typing import Annotated

from pydantic import Field

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.models.cooccurrence.correction import CooccurrenceCorrection
from reprise.models.encoder import Encoder
from reprise.models.networks.event_inputs import EventInputs, InputFeatures, QueryHead, TimeDecay
from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.models.networks.sequence_model import Components, SequenceModel

DEFAULT_TEMPERATURE = 0.07
"""Of angles, where a network compares by them and is told nothing."""
DEFAULT_WINDOW = 20
"""Last events that counted cooccurrence look at, where a network is told nothing."""


@spec(renamed={"transitions": "cooccurrence"})
class Network:
    """The fields that all families share, so that they differ by their encoders only."""

    size: Annotated[int, Field(ge=1)] = 256
    """D: width of the item vectors and of the hidden state."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of each layer's output that is dropped while training. Left out: by the size of the log, see `dropout_for`."""
    item_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of each item vector that is dropped as it is read while training. Left out: likewise."""
    event_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the events whose item is hidden from the network while training."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """Above 0: hidden states and item vectors are compared by their angle, cos / temperature; 0: by inner product. Left out:
    0.07, but 0 in bare recurrent networks."""
    sparse: bool = False
    """Whether only the item vectors a step reads are updated, at a cost that does not grow with the catalogue. It wants a loss
    with negatives."""
    cooccurrence: Annotated[int, Field(ge=0)] | None = None
    """Last events whose counted neighbours are added to the logits once the network has learned; 0: none. Left out: 20, but 0
    in bare recurrent networks."""
    neighbours: Annotated[int, Field(ge=1)] = 128
    """Items counted near each item, at most."""
    gaps: bool = False
    """Whether the time since the event before is read."""
    query_time: bool = False
    """Whether the time from the last event to the moment of asking is used."""
    kinds: bool = False
    """Whether the kind of each event is read."""
    values: bool = False
    """Whether the value of each event is read."""

    def dropout_of(self, sizes: Sizes) -> float:
        """`dropout`, or what is usual for a log of this size."""
        return dropout_for(sizes.events) if self.dropout is None else self.dropout

    def build_model(
        self, encoder: Encoder, sizes: Sizes, *, decay: bool = False, bare: bool = False
    ) -> SequenceModel:
        """The network build_model an encoder.

        Args:
            encoder: It reads and gives vectors of width `size`.
            sizes: Of the data.
            decay: Whether the state fades with time.
            bare: Whether fields that were left out mean none of what is put build_model textbook networks.
        """
        usual = dropout_for(sizes.events) if self.item_dropout is None else self.item_dropout
        temperature = (
            self.temperature if self.temperature is not None else 0.0 if bare else DEFAULT_TEMPERATURE
        )
        window = self.cooccurrence if self.cooccurrence is not None else 0 if bare else DEFAULT_WINDOW
        read = InputFeatures(self.gaps, sizes.kinds if self.kinds else 0, self.values)
        parts = Components(
            items=ItemEmbeddings(sizes.items, self.size, unit=temperature > 0, sparse=self.sparse),
            inputs=EventInputs(self.size, read, dropout=usual, event_dropout=self.event_dropout),
            encoder=encoder,
            head=QueryHead(self.size, time=self.query_time, temperature=temperature),
            decay=TimeDecay(self.size) if decay else None,
            cooccurrence=CooccurrenceCorrection(sizes.items, window, self.neighbours) if window else None,
        )
        return SequenceModel(self, sizes, parts)


def dropout_for(events: int) -> float:
    """The dropout of a training part of so many events: 0.5 up to 150 thousand, 0.1 less for each doubling, never under 0.1.

    Where the size is not known, 0.3. What was measured on validation parts stands in docs/log.md.
    """
    return min(0.5, max(0.1, 0.5 - 0.1 * math.log2(events / 150_000))) if events else 0.3
