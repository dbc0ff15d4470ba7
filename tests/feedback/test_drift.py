"""Drift of distributions: the statistics, their noise, and the sources of the distributions."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reprise.errors import DataError
from reprise.feedback import category_drift, number_drift
from reprise.feedback.distribution_drift import noise_limit, stability_index
from reprise.feedback.drift_output import drift_dict, drift_metrics
from reprise.feedback.drift_sources import best_scores
from reprise.server import Answer, ShownItem, SQLiteStore


def drawn(rng: np.random.Generator, share: np.ndarray, events: int) -> dict[str, int]:
    return {str(item): int(count) for item, count in enumerate(rng.multinomial(events, share))}


ZIPF = 1 / np.arange(1, 501) / (1 / np.arange(1, 501)).sum()


def test_the_index_follows_its_formula() -> None:
    """Half an event is added to each bin: shares 40.5 / 101 and 60.5 / 101, and the reverse."""
    p, q = 40.5 / 101, 60.5 / 101
    assert stability_index([40, 60], [60, 40]) == pytest.approx(2 * (q - p) * math.log(q / p))
    assert stability_index([1, 2, 3], [1, 2, 3]) == 0


def test_two_samples_of_one_distribution_exceed_the_noise_in_five_percent() -> None:
    rng = np.random.default_rng(0)
    found = [category_drift("items", drawn(rng, ZIPF, 20_000), drawn(rng, ZIPF, 5_000)) for _ in range(200)]
    above = np.mean([one.psi > one.noise for one in found])
    assert 0.01 <= above <= 0.10
    assert {one.level for one in found} == {"none"}


def test_a_shift_of_popularity_is_found_and_named() -> None:
    rng = np.random.default_rng(0)
    other = ZIPF.copy()
    other[[0, 30]] = other[[30, 0]]
    found = category_drift("items", drawn(rng, ZIPF, 20_000), drawn(rng, other, 5_000))
    assert found.level == "large" and {one.value for one in found.changes[:2]} == {"0", "30"}
    assert found.changes[0].before == pytest.approx(ZIPF[0], abs=0.01)


def test_new_items_are_a_share_of_their_own() -> None:
    found = category_drift("items", {"a": 500, "b": 500}, {"a": 400, "b": 400, "c": 200})
    assert found.new == pytest.approx(200 / 1_000) and found.psi == 0 and found.changes[0].value == "c"
    only_new = category_drift("items", {"a": 500}, {"c": 200})
    assert (
        only_new.psi == math.inf
        and only_new.level == "large"
        and drift_dict([only_new])["items"]["psi"] is None
    )


def test_scores_are_compared_by_both_statistics() -> None:
    rng = np.random.default_rng(0)
    before, now = rng.normal(0, 1, 4_000), rng.normal(0.5, 1, 3_000)
    found = number_drift("scores", before, now)
    assert found.ks == pytest.approx(stats.ks_2samp(before, now).statistic)
    # normal distributions with a distance of d differ by 2 * Phi(d / 2) - 1
    assert found.ks == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.03)
    # their Jeffreys divergence is d^2; bins lose a part of it
    assert 0.2 < found.psi <= 0.5**2 + 0.03 and found.level != "none"
    same = number_drift("scores", before, rng.normal(0, 1, 3_000))
    assert same.level == "none" and same.psi < 0.02


def test_equal_scores_have_no_drift() -> None:
    found = number_drift("scores", np.ones(10), np.ones(5))
    assert (found.psi, found.ks, found.level) == (pytest.approx(0, abs=0.03), 0, "none")
    assert noise_limit(1, 10, 5) == 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: category_drift("kinds", {}, {"a": 1}), "reference distribution of kinds has no events"),
        (lambda: number_drift("scores", [1.0], []), "current distribution of scores has no events"),
        (lambda: number_drift("scores", [1.0], [math.nan]), "not finite"),
        (lambda: stability_index([1], [1, 2]), "the same bins"),
    ],
)
def test_bad_input_is_refused(act: object, message: str) -> None:
    assert callable(act)
    with pytest.raises(DataError, match=message):
        act()


def test_scores_of_the_newest_model_are_compared(tmp_path: Path) -> None:
    """The best ranked item counts; explored items, similar items and other models do not."""
    store = SQLiteStore(tmp_path / "events.db")
    items = (ShownItem("x", 9.0, 0.5), ShownItem("a", 2.0), ShownItem("b", 1.0))
    rows = [("old", "recommend"), ("new", "recommend"), ("new", "similar_items"), ("new", "recommend")]
    store.append_answers(
        [
            Answer(f"r{n}", 100 + n, "default", None, model, None, kind, items)
            for n, (model, kind) in enumerate(rows)
        ]
    )
    assert best_scores(store, "default", 103) == ([2.0], [2.0])
    store.close()


def test_metrics_have_one_line_for_each_distribution() -> None:
    text = drift_metrics(
        [category_drift("kinds", Counter(view=9), Counter(view=5)), number_drift("scores", [1], [2])]
    )
    assert 'reprise_drift_psi{distribution="kinds"} 0.0' in text
    assert 'reprise_drift_ks{distribution="scores"} 1.0' in text and 'ks{distribution="kinds"}' not in text
