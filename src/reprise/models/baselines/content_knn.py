"""Content-based nearest neighbours: items whose attributes resemble those of the last events.

Shape letters: N targets, W last items, I items (all of the item table), F features, C examples of a step.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from reprise.arrays import Float32Array
from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.baselines.window_scorer import WindowScorer, fitted
from reprise.models.corrections.fitting import CalibrationExamples, find_calibration_examples
from reprise.models.counts.content_similarity import unit_features
from reprise.models.counts.counting import csr_entries
from reprise.models.counts.session_matrix import find_sessions, popularity_tie_break

DECAYS = (0.0, 0.3, 0.6, 0.8, 0.9, 1.0)
"""Values of r among which the validation part chooses; 0 uses the last item only."""
DEFAULT_DECAY = 0.3
"""r without a validation part."""
MAX_EXAMPLES = 2048
"""Maximum number of validation targets by which r is chosen."""
EXAMPLES_PER_STEP = 256
"""Number of these targets that are scored together."""
SESSION_LENGTH = 50
"""Maximum number of events of a session when the default of `repeat_weight` is estimated, as in `ItemKNN`."""


@spec
class ContentKNN:
    """Content-based kNN: the score of an item is the weighted similarity of its content to that of the last W items.

    s_j = sum over the last W items i_w of r^w cos(f_i_w, f_j), with f the content features of an item and w events
    between i_w and the target. cos(f_i, f_i) of the same item is `repeat_weight`. An item needs no events, so items
    that are new since the training part are scored too. Pazzani and Billsus, "Content-based recommendation systems"
    (2007).
    """

    columns: tuple[Any, ...] = ()
    """Names of columns of the item table, or column specs such as `Text("title")`.
    Default: all columns that describe an item."""
    window: Annotated[int, Field(ge=1)] = 20
    """Number of last items that are used, W."""
    decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """r: the weight of an item relative to the item after it; 0 uses the last item only.
    Default: the value with the highest mean reciprocal rank on the validation part."""
    repeat_weight: Annotated[float, Field(ge=0)] | None = None
    """Similarity of an item to itself. Default: estimated from the share of repeats, as in `ItemKNN`."""
    exclude_seen: bool = False
    """Whether r is chosen for lists without the items that the user has seen."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedContentKNN":
        """Fit the features on the warm items, and choose r on the validation part.

        Raises:
            ConfigError: The item table has no such column.
            DataError: The training part is empty, or no column of the item table describes an item.
        """
        feature_IF = unit_features(dataset, self.columns)
        if self.decay is not None:
            return fitted(FittedContentKNN(self, feature_IF, self.decay), dataset)
        view = dataset.scoring(len(dataset.items))
        examples = find_calibration_examples(
            view, "valid", self.window, exclude_seen=self.exclude_seen, limit=MAX_EXAMPLES
        )
        decay = DEFAULT_DECAY
        if len(examples.target_N):
            found = {r: FittedContentKNN(self, feature_IF, r) for r in DECAYS}
            value = {r: _reciprocal_rank(model, dataset, examples) for r, model in found.items()}
            decay = max(DECAYS, key=value.__getitem__)
        return fitted(FittedContentKNN(self, feature_IF, decay), dataset)


class FittedContentKNN(WindowScorer):
    """A fitted `ContentKNN` scorer.

    Args:
        spec: The spec.
        feature_IF: Features of all items in rows of length 1 or 0, [I + 1, F]; row 0 belongs to `PAD`.
        decay: r.
    """

    def __init__(self, spec: ContentKNN, feature_IF: Float32Array, decay: float) -> None:
        super().__init__(str(spec), spec.window)
        self.decay = decay
        self._repeat_weight = spec.repeat_weight
        self._feature_IF = torch.from_numpy(feature_IF)
        self._weight_W = torch.tensor([decay**distance for distance in range(spec.window)][::-1])

    @property
    def scored_items(self) -> int:
        """Number of items with a score: all of the item table."""
        return len(self._feature_IF) - 1

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the events of each item, which order items of equal similarity, and the share of repeats."""
        view = dataset.scoring(self.scored_items)
        self._tie_I = popularity_tie_break(view, before)
        own = self._repeat_weight
        self._own = find_sessions(view, before, SESSION_LENGTH).repeat_weight if own is None else own

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the weighted sum of similarities to the last items, s_NI, float32."""
        # one item after the other: the features of all windows together would take W times the memory
        query_NF = torch.zeros(len(recent_NW), self._feature_IF.shape[1])
        for item_N, weight in zip(recent_NW.T, self._weight_W, strict=True):
            query_NF += weight * self._feature_IF[item_N]
        s_NI = query_NF @ self._feature_IF[1:].T + self._tie_I
        row_P, place_P = (recent_NW != PAD).nonzero(as_tuple=True)
        item_P = recent_NW[row_P, place_P]
        own_P = self._feature_IF[item_P].square().sum(1)
        change_P = self._weight_W[place_P] * (self._own - own_P)
        return s_NI.index_put_((row_P, item_P - 1), change_P, accumulate=True)


def _reciprocal_rank(
    model: FittedContentKNN, dataset: SequenceDataset, examples: CalibrationExamples
) -> float:
    """Return the mean reciprocal rank of the targets of the validation part."""
    model.count(dataset, before="valid")
    total = 0.0
    for index_C in torch.split(torch.arange(len(examples.target_N)), EXAMPLES_PER_STEP):
        s_CI = model.score_windows(examples.recent.item_NW[index_C])
        row_P, hidden_P = csr_entries(examples.start, index_C)
        s_CI[row_P, examples.hidden_P[hidden_P] - 1] = -torch.inf
        own_C1 = s_CI.gather(1, (examples.target_N[index_C] - 1)[:, None])
        rank_C = 1 + (s_CI > own_C1).sum(1) + ((s_CI == own_C1).sum(1) - 1) / 2
        total += float((1 / rank_C).sum())
    return total / len(examples.target_N)
