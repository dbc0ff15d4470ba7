"""Item co-occurrence together with similar content, for items with and without events.

Shape letters: N targets, C calibration examples of a step, W last items, I items (all of the item table), F features.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from reprise.arrays import Float32Array
from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.models.baselines.window_scorer import WindowScorer, fitted
from reprise.models.corrections.cooccurrence import MAX_DISTANCE, CooccurrenceCorrection
from reprise.models.corrections.fitting import find_calibration_examples, fit_corrections
from reprise.models.counts.content_similarity import nearest_by_content, unit_features
from reprise.models.counts.counting import check_counts, count_neighbours, item_counts
from reprise.models.counts.neighbours import merge_similarities

DEFAULT_UNSEEN_COUNT = 0.5
"""Count of an item without events if there is no validation part from which it can be estimated."""


@spec
class ContentCooccurrence:
    """Popularity corrected by co-occurrence and by similar content: log p_j + g log(1 + s_j / e) + g' log(1 + t_j / e').

    s_j counts the co-occurrences with the last W items as in `Cooccurrence`, t_j = sum over w of v'_w cos(f_i_w, f_j)
    with the content features f of `ContentKNN`. All parameters are fitted on the validation part by log loss, over items
    with and without events together, so the targets of that part decide how far content is trusted.

    All items without events share one popularity: together they get the share that such items have of the targets of the
    validation part.
    """

    columns: tuple[Any, ...] = ()
    """Names of columns of the item table, or column specs such as `Text("title")`.
    Default: all columns that describe an item."""
    window: Annotated[int, Field(ge=1)] = 20
    """Number of last items that are used, W."""
    neighbours: Annotated[int, Field(ge=1)] = 128
    """Number of neighbours stored per item, of each of both sorts."""
    exclude_seen: bool = False
    """Whether the parameters are fitted for lists without the items that the user has seen."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedContentCooccurrence":
        """Count the training part, fit the parameters on the validation part, then count that part as well.

        Raises:
            ConfigError: The item table has no such column.
            DataError: The training part is empty, or no column of the item table describes an item.
        """
        model = FittedContentCooccurrence(self, unit_features(dataset, self.columns))
        view = dataset.scoring(model.scored_items)
        examples = find_calibration_examples(view, "valid", self.window, exclude_seen=self.exclude_seen)
        if len(examples.target_N):
            cold = int((examples.target_N > dataset.items.warm).sum())
            # one more of each kind, so that neither is impossible
            model.unseen_share = (cold + 1) / (len(examples.target_N) + 2)
        model.count(dataset, before="valid")
        base_I = model.log_popularity_I
        # log loss, as in `Cooccurrence`
        fit_corrections(
            model.correction, None, examples, lambda index_C: base_I.expand(len(index_C), -1), gce_q=0.0
        )
        model.correction.requires_grad_(False)
        return fitted(model, dataset)


class FittedContentCooccurrence(WindowScorer):
    """A fitted `ContentCooccurrence` scorer.

    Args:
        spec: The spec.
        feature_IF: Features of all items in rows of length 1 or 0, [I + 1, F]; row 0 belongs to `PAD`.
    """

    def __init__(self, spec: ContentCooccurrence, feature_IF: Float32Array) -> None:
        super().__init__(str(spec), spec.window)
        self.scored_items = len(feature_IF) - 1
        """Number of items with a score: all of the item table."""
        self.unseen_share: float | None = None
        """Share of the events that have an item without earlier events; None if it is not known."""
        self.correction = CooccurrenceCorrection(self.scored_items, spec.window, spec.neighbours)
        self._similar_II = nearest_by_content(feature_IF, spec.neighbours)

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the events before a part; the fitted parameters are unchanged."""
        view = dataset.scoring(self.scored_items)
        count_I = item_counts(view, before)
        check_counts(count_I)
        near = count_neighbours(view, MAX_DISTANCE, self.correction.neighbours, before)
        self.correction.store(merge_similarities(near, self._similar_II), count_I)
        self.log_popularity_I = _log_popularity(count_I, self.unseen_share)

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the corrected log popularity, s_NI, float32."""
        s_NI = self.log_popularity_I.repeat(len(recent_NW), 1)
        self.correction(recent_NW).add_to(s_NI)
        return s_NI


def _log_popularity(count_I: Tensor, unseen_share: float | None) -> Tensor:
    """Return the log of the share of each item, float32 [I]; items without events divide `unseen_share`."""
    unseen_I = count_I == 0
    count = DEFAULT_UNSEEN_COUNT
    if unseen_share is not None:
        count = float(count_I.sum()) * unseen_share / (1 - unseen_share) / max(1, int(unseen_I.sum()))
    filled_I = torch.where(unseen_I, count, count_I)
    return (filled_I / filled_I.sum()).log().float()
