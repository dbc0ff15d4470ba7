"""The forecast heads of a trained network: the kind of the next event, and the time until it.

The heads are small feed-forward networks whose weights are arrays. They are fitted with torch after the network
(`reprise.training.fit_forecast`), and computed here without it, in evaluation and when serving.

Shape letters: N histories, D width of the query, F features, I inputs of a head, H hidden units, O outputs, K kinds,
C components.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from scipy.special import expit, softmax

from reprise.arrays import AnyArray, Float32Array, Float64Array
from reprise.errors import ArtefactError
from reprise.forecast.gap_distribution import MAX_WIDTH, MIN_WIDTH, GapDistribution
from reprise.forecast.recent_history import RecentHistory, feature_count

LOG_BOUNDS = (-7.0, 21.0)
"""Bounds of the mean log seconds of a component: from a millisecond to 40 years."""
KIND, GAP = "kind", "gap"
"""Names of the heads, and prefixes of their tensors."""


@dataclass(frozen=True)
class HeadWeights:
    """A network with one hidden layer and a direct linear part: o = A v + B silu(C v + c) + a.

    v is the query vector without the time of the request, standardised, followed by the features of `RecentHistory`. A head
    that does not read the query vector has arrays `center` and `scale` of length 0.
    """

    center: Float32Array
    """Mean of each component of the query vector over the training targets, [D] or [0]."""
    scale: Float32Array
    """Standard deviation of each component of the query vector over the training targets, [D] or [0]; above 0."""
    hidden: Float32Array
    """C, [H, D + F]."""
    hidden_bias: Float32Array
    """c, [H]."""
    output: Float32Array
    """B, [O, H]."""
    direct: Float32Array
    """A, [O, D + F]."""
    output_bias: Float32Array
    """a, [O]."""

    @property
    def reads_query(self) -> bool:
        """Whether the head reads the query vector of the network, besides the features of the last events."""
        return self.center.size > 0

    def __call__(self, query_ND: Float32Array, feature_NF: Float32Array) -> Float64Array:
        """Return the outputs of the head for N histories, [N, O].

        Args:
            query_ND: Query vectors of the network without the time of the request.
            feature_NF: Features of the last events, as `RecentHistory.features` returns them.
        """
        read_ND = query_ND[:, : len(self.center)]
        input_NI = np.concatenate([(read_ND - self.center) / self.scale, feature_NF], axis=1)
        hidden_NH = input_NI @ self.hidden.T + self.hidden_bias
        hidden_NH = hidden_NH * expit(hidden_NH)
        output_NO = hidden_NH @ self.output.T + input_NI @ self.direct.T + self.output_bias
        result: Float64Array = output_NO.astype(np.float64)
        return result

    def check(self, name: str, width: int, kinds: int, outputs: int | None) -> None:
        """Check the shapes and the values of the arrays.

        Args:
            name: Name of the head, for the message.
            width: D, width of the query vectors of the network.
            kinds: K, number of kinds of event in the log.
            outputs: O; None: any number.

        Raises:
            ArtefactError: An array has another shape or type, or a scale is not positive.
        """
        read = width if self.reads_query else 0
        inputs, units = read + feature_count(kinds), self.hidden_bias.size
        found = self.output_bias.size if outputs is None else outputs
        shapes = {
            "center": (read,), "scale": (read,), "hidden": (units, inputs), "hidden_bias": (units,),
            "output": (found, units), "direct": (found, inputs), "output_bias": (found,),
        }  # fmt: skip
        for field, shape in shapes.items():
            array = getattr(self, field)
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ArtefactError(
                    f"the array {field!r} of the {name} head has the shape {array.shape} and the type {array.dtype}, expected "
                    f"{shape} and finite numbers of float32; fit the heads again"
                )
        if (self.scale <= 0).any():
            raise ArtefactError(f"a scale of the {name} head is not positive; fit the heads again")


class HeadForecasts(NamedTuple):
    """The outputs of the heads as probabilities."""

    kind_NK: Float64Array | None
    """Probability of each kind of the next event; None without a kind head."""
    gap: GapDistribution | None
    """Distributions of the time from the last event to the next; None without a gap head."""


@dataclass(frozen=True)
class ForecastHeads:
    """The fitted forecast heads of a network. The ranking of items does not depend on them."""

    kinds: int
    """K: number of kinds of event in the log."""
    kind: HeadWeights | None = None
    """Head of the kind of the next event: K logits. None: the log has one kind."""
    gap: HeadWeights | None = None
    """Head of the time to the next event. Its outputs are the logit of a gap of 0, then C weights, C means and C widths, as
    `gap_distribution_of` reads them. None: all events of a sequence in the log have the same time."""

    @property
    def tensors(self) -> dict[str, AnyArray]:
        """The arrays of all heads by name, such as `kind.hidden`."""
        heads = {KIND: self.kind, GAP: self.gap}
        return {
            f"{name}.{field.name}": getattr(head, field.name)
            for name, head in heads.items()
            if head is not None
            for field in fields(HeadWeights)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyArray], width: int, kinds: int) -> "ForecastHeads | None":
        """Return the heads that consist of these arrays, after checking them; None if `tensors` is empty.

        Args:
            tensors: The arrays by name, as `tensors` returns them.
            width: D, width of the query vectors of the network.
            kinds: K, number of kinds of event in the log.

        Raises:
            ArtefactError: An array is missing, unknown, of another shape or type, or has a number that is not finite.
        """
        if not tensors:
            return None
        names = [field.name for field in fields(HeadWeights)]
        heads = {}
        for head in (KIND, GAP):
            own = {name: tensors[f"{head}.{name}"] for name in names if f"{head}.{name}" in tensors}
            if own and len(own) < len(names):
                raise ArtefactError(
                    f"the {head} head has no array {next(name for name in names if name not in own)!r}; fit the heads again"
                )
            if own:
                heads[head] = HeadWeights(**own)
                heads[head].check(head, width, kinds, kinds if head == KIND else None)
        unknown = sorted(set(tensors) - {f"{head}.{name}" for head in heads for name in names})
        if unknown or (
            GAP in heads and (heads[GAP].output_bias.size < 4 or heads[GAP].output_bias.size % 3 != 1)
        ):
            raise ArtefactError(
                f"the forecast heads have unknown arrays or outputs ({unknown}); fit the heads again"
            )
        return cls(kinds, heads.get(KIND), heads.get(GAP))

    def predict(self, query_ND: Float32Array, history: RecentHistory) -> HeadForecasts:
        """Forecast the kind and the time of the next event of N histories.

        Args:
            query_ND: Query vectors of the network without the time of the request.
            history: The last events of the histories.
        """
        feature_NF = history.features(self.kinds)
        return HeadForecasts(
            None if self.kind is None else softmax(self.kind(query_ND, feature_NF), axis=1),
            None if self.gap is None else gap_distribution_of(self.gap(query_ND, feature_NF)),
        )


def gap_distribution_of(output_NO: Float64Array) -> GapDistribution:
    """Return the N distributions whose parameters are the outputs of a gap head, [N, 1 + 3 C]."""
    weight_NC, mean_NC, width_NC = np.split(output_NO[:, 1:], 3, axis=1)
    return GapDistribution(
        expit(output_NO[:, 0]),
        softmax(weight_NC, axis=1),
        np.clip(mean_NC, *LOG_BOUNDS),
        MIN_WIDTH + (MAX_WIDTH - MIN_WIDTH) * expit(width_NC),
    )
