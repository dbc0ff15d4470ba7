"""The fields that all network families share, and how a network is assembled around an encoder.

A family is a subclass of `Network` that builds its encoder.
"""

import math
from typing import Annotated

from pydantic import Field

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.encoder import Encoder
from reprise.models.items.content_embeddings import ItemContent
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.models.networks.event_inputs import EventInputs, InputFeatures, QueryHead, TimeDecay
from reprise.models.networks.sequence_model import Components, SequenceModel

DEFAULT_TEMPERATURE = 0.07
"""Default softmax temperature for cosine scores."""
DEFAULT_WINDOW = 20
"""Default number of last events in the co-occurrence correction and in attention."""
DEFAULT_REPEATS = 50
"""Default number of last events in the repeat head."""


@spec(renamed={"transitions": "cooccurrence"}, before={"pair_users": 1})
class Network:
    """Base class of the specs of all networks; a subclass builds the encoder."""

    size: Annotated[int, Field(ge=1)] = 256
    """D: width of the item vectors and of the hidden state."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout rate of each layer's output. Default: depends on the size of the log, see `dropout_for`."""
    item_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout rate of the input item vectors. Default: as for `dropout`."""
    event_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the events whose item is hidden during training."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """Softmax temperature. Above 0, scores are cosine similarities divided by it; 0: scores are inner products.
    Default: 0.07, or 0 in bare recurrent networks."""
    sparse: bool | None = None
    """Whether a step updates only the item vectors it used, at a cost that does not grow with the catalogue.
    Requires a sampled loss. Default: if the loss is sampled and the catalogue is large."""
    cooccurrence: Annotated[int, Field(ge=0)] | None = None
    """Window of the co-occurrence correction of the logits, in items; 0 turns it off.
    The correction is fitted after training. Default: 20, or 0 in bare recurrent networks."""
    neighbours: Annotated[int, Field(ge=1)] = 128
    """Number of neighbours stored per item in the co-occurrence correction, of each of both sorts."""
    pair_users: Annotated[int, Field(ge=1)] = 2
    """Minimum number of different users of a pair of items in the co-occurrence correction; rarer pairs are not counted.
    A user is a sequence, or all sessions of a user if `prepare` has divided users into sessions."""
    repeats: Annotated[int, Field(ge=0)] | None = None
    """Window of the repeat head, in events; 0 turns it off. It mixes the logits with a pointer over recent items.
    The head is fitted after training. It reads times if the network does, and kinds if `kinds` is on.
    Default: 50, or 0 in bare recurrent networks."""
    content: ItemContent | None = None
    """How the content of items is read, such as their titles and prices; None: items are known by their ids only.
    With content, items that are not in the training part are read and recommended too."""
    gaps: bool = False
    """Whether the time since the previous event is an input."""
    query_time: bool = False
    """Whether the time from the last event to the request is an input."""
    kinds: bool = False
    """Whether the kind of each event is an input."""
    values: bool = False
    """Whether the value of each event is an input."""
    users: tuple[str, ...] = ()
    """Columns of the user table that are inputs of the query, such as a country."""
    calendar: bool = False
    """Whether the hour of the day and the day of the week of each event and of the request are inputs, in UTC."""

    def dropout_of(self, sizes: Sizes) -> float:
        """Return `dropout`, or the default for a log of this size."""
        return dropout_for(sizes.events) if self.dropout is None else self.dropout

    def build_model(
        self, encoder: Encoder, sizes: Sizes, *, decay: bool = False, bare: bool = False
    ) -> SequenceModel:
        """Assemble the network around an encoder.

        Args:
            encoder: Encoder whose inputs and outputs have the width `size`.
            sizes: Sizes of the dataset.
            decay: Whether the state decays with time.
            bare: Whether fields without a value mean a textbook network: inner products without corrections.
        """
        item_dropout = dropout_for(sizes.events) if self.item_dropout is None else self.item_dropout
        temperature = (
            self.temperature if self.temperature is not None else 0.0 if bare else DEFAULT_TEMPERATURE
        )
        window = self.cooccurrence if self.cooccurrence is not None else 0 if bare else DEFAULT_WINDOW
        repeats = self.repeats if self.repeats is not None else 0 if bare else DEFAULT_REPEATS
        times = self.gaps or self.query_time or decay
        features = InputFeatures(self.gaps, sizes.kinds if self.kinds else 0, self.values, self.calendar)
        components = Components(
            items=ItemEmbeddings(sizes.items, self.size, unit=temperature > 0, sparse=self.sparse),
            inputs=EventInputs(self.size, features, dropout=item_dropout, event_dropout=self.event_dropout),
            encoder=encoder,
            head=QueryHead(self.size, time=self.query_time, temperature=temperature, calendar=self.calendar),
            decay=TimeDecay(self.size) if decay else None,
            cooccurrence=CooccurrenceCorrection(
                sizes.items, window, self.neighbours, pair_users=self.pair_users
            )
            if window
            else None,
            users=self.users,
            repeat_head=RepeatHead(repeats, times=times, kinds=features.kinds) if repeats else None,
            content=self.content,
        )
        return SequenceModel(self, sizes, components)


def dropout_for(events: int) -> float:
    """Return the default dropout rate for a training part of this many events; 0.3 if the number is unknown.

    0.5 up to 150 thousand events, 0.1 less for each doubling, and at least 0.1. The measurements are in
    docs/experiments.md.
    """
    return min(0.5, max(0.1, 0.5 - 0.1 * math.log2(events / 150_000))) if events else 0.3
