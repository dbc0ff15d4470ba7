"""Targets of users without known events are ranked among the popular items, as a recommender answers."""

import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.data.popular_items import Moment, PopularItems, popular_shares
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking import ranks as ranking
from reprise.evaluation.ranking.popular_scores import with_popular_items
from reprise.evaluation.ranking.ranks import rank, score_rows
from reprise.evaluation.ranking.scores import GivenScores
from reprise.evaluation.ranking.targets import rank_targets
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.models.baselines.item_knn import ItemKNN
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity, RecentPopularity, SessionPopularity
from reprise.models.baselines.session_knn import SessionKNN
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.recurrent import Recurrent
from reprise.testing.worlds import world

BASELINES = [
    Popularity(), RecentPopularity(), SessionPopularity(), Markov(), Cooccurrence(), ItemKNN(), SessionKNN(),
]  # fmt: skip


class Spans:
    """Keeps the scores of all spans."""

    def __init__(self) -> None:
        self.received: list[torch.Tensor] = []

    def receive(self, s_CI: torch.Tensor) -> None:
        self.received.append(s_CI.clone())


@pytest.fixture
def newcomers() -> SequenceDataset:
    """Three users with training events, a 6, b 5, c 2, d 2, and four of test events only: two new items, then b, then a."""
    known = [list(letters) for letters in ("aaabcdbaba", "aabcdbaba", "bbabbaba")]
    return world([*known, *([["new", "newer", "b", "a"]] * 4)], valid=0, test=4)


@pytest.mark.parametrize(
    "spec", [Recurrent(size=4, layers=1), Ensemble(member=Recurrent(size=4, layers=1), members=2)], ids=str
)
def test_a_network_ranks_the_popular_items_for_a_user_without_known_events(newcomers, spec) -> None:
    model = spec.build(newcomers.sizes)
    ranks = rank_targets(model, newcomers, EvaluationProtocol())
    shares = popular_shares(newcomers.table, newcomers.items.warm)
    b = newcomers.items.index("b")
    for row in range(3, 7):
        _, third, fourth = np.flatnonzero(ranks.row_N == row)
        assert ranks.greater_N[third] == (shares > shares[b - 1]).sum()
        assert ranks.equal_N[third] == (shares == shares[b - 1]).sum() - 1
        assert ranks.equal_N[fourth] == 0


@pytest.mark.parametrize("spec", BASELINES, ids=str)
def test_a_baseline_has_a_popular_order_for_a_user_without_known_events(newcomers, spec) -> None:
    model = spec.fit(newcomers)
    score_I = model.scores(model.initial_state(1))[0].numpy()
    order = [newcomers.items.item_ids([index + 1])[0] for index in np.argsort(-score_I, kind="stable")]
    assert order[:2] == ["a", "b"]
    assert len(np.unique(score_I)) >= 3


@pytest.mark.parametrize("columns", [2, 64])
def test_only_the_rows_without_known_events_are_replaced(newcomers, monkeypatch, columns) -> None:
    """Tiles of several widths, rows taken from the scores, and top-k lists all see the replaced rows."""
    monkeypatch.setitem(ranking.COLUMNS_PER_TILE, "cpu", columns)
    monkeypatch.setitem(ranking.SCORES_PER_TILE, "cpu", columns)
    items = newcomers.items.warm
    score_NI = torch.rand(6, items, generator=torch.Generator().manual_seed(0))
    without_N = np.array([True, False, False, True, True, False])
    popular = PopularItems.static(popular_shares(newcomers.table, items))
    scores = with_popular_items(
        GivenScores(score_NI), popular, [Moment() if one else None for one in without_N]
    )
    expected_NI = score_NI.clone()
    expected_NI[without_N] = torch.from_numpy(popular_shares(newcomers.table, items))
    target_N = torch.tensor([1, 2, 3, 4, 2, items + 1])
    for rows in (torch.arange(6), torch.tensor([0, 2, 4, 5])):
        spans = Spans()
        score_rows(scores.take(rows), None, spans.receive)
        found = rank(scores.take(rows), target_N[rows])
        assert torch.equal(torch.cat(spans.received), expected_NI[rows])
        plain = rank(GivenScores(expected_NI[rows]), target_N[rows])
        assert [column.tolist() for column in found] == [column.tolist() for column in plain]


def test_calibration_leaves_out_targets_without_known_events(newcomers) -> None:
    report = evaluate(Recurrent(size=4, layers=1).build(newcomers.sizes), newcomers, at=(2,))
    assert report.calibration is not None
    assert sum(part.targets for part in report.calibration.bins) == 3 * 4 + 4
