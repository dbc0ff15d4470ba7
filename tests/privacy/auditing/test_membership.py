"""Membership attacks: rates, thresholds and intervals on known scores, and on a network that has learned by heart."""

import numpy as np
import pytest
from audited_log import Audited
from scipy.stats import binomtest

from reprise.errors import DataError
from reprise.evaluation.stats.bootstrap import Bootstrap
from reprise.privacy.auditing.membership import attack_result, membership_attacks
from reprise.privacy.auditing.user_losses import in_vocabulary, user_losses

OTHERS = np.arange(1000.0)


def test_rates_are_those_of_the_ranks() -> None:
    # 10 of 1,000 others may lie above the threshold 989, and one above 998
    result = attack_result("x", np.array([989.0, 989.5, 998.5, 2000.0]), OTHERS)
    assert [point.false_positives for point in result.points] == [10, 1]
    assert [point.tpr.value for point in result.points] == [3 / 4, 2 / 4]
    assert result.auc.value == pytest.approx((989.5 + 990 + 999 + 1000) / 4 / 1000)


def test_equal_scores_are_chance() -> None:
    result = attack_result("x", np.zeros(200), np.zeros(300))
    assert result.auc.value == 0.5
    assert [point.tpr.value for point in result.points] == [0.0, 0.0]


def test_with_few_others_no_false_positive_is_allowed_at_a_tenth_of_a_percent() -> None:
    result = attack_result("x", np.array([998.5, 500.0]), OTHERS[:999])
    assert result.points[1].false_positives == 0
    assert result.points[1].tpr.value == 1 / 2


def test_an_interval_is_not_empty_when_no_member_is_found() -> None:
    point = attack_result("x", np.full(100, -1.0), OTHERS).points[0]
    exact = binomtest(0, 100).proportion_ci(0.95, method="exact")
    assert (point.tpr.low, point.tpr.high) == (0.0, pytest.approx(exact.high))


def test_the_interval_of_a_rate_includes_the_spread_of_the_threshold() -> None:
    generator = np.random.default_rng(0)
    member, other = generator.normal(1, 1, 2000), generator.normal(0, 1, 200)
    rate = attack_result("x", member, other).points[0].tpr
    exact = binomtest(round(rate.value * 2000), 2000).proportion_ci(0.95, method="exact")
    assert rate.low is not None and rate.high is not None
    assert rate.high - rate.low > 2 * (exact.high - exact.low)


def test_intervals_of_the_auc_cover_the_truth_in_about_19_of_20_cases() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(50):
        member, other = generator.normal(0, 1, 150), generator.normal(0, 1, 150)
        auc = attack_result("x", member, other, Bootstrap(resamples=100)).auc
        assert auc.low is not None and auc.high is not None
        covered += auc.low <= 0.5 <= auc.high
    assert covered >= 0.95 * 50 - 4 * (50 * 0.95 * 0.05) ** 0.5


def test_a_result_is_the_same_for_the_same_seed() -> None:
    member = np.random.default_rng(2).normal(1, 1, 300) * 100 + 500
    assert attack_result("x", member, OTHERS) == attack_result("x", member, OTHERS)


def test_members_of_a_run_that_has_learned_by_heart_are_found(audited: Audited) -> None:
    members = user_losses(audited.model, audited.members)
    others = user_losses(audited.model, in_vocabulary(audited.others, audited.members))
    found = {result.name: result for result in membership_attacks(members, others)}
    assert list(found) == ["loss/network", "loss/counts", "difference/counts"]
    assert found["difference/counts"].auc.value >= 0.7
    assert found["loss/counts"].auc.value >= 0.65
    assert found["loss/network"].members == found["loss/network"].others == 150


def test_users_of_one_group_are_not_distinguished(audited: Audited) -> None:
    losses = user_losses(audited.model, in_vocabulary(audited.others, audited.members))
    rows = np.arange(len(losses))
    half = losses.take(rows % 2 == 0), losses.take(rows % 2 == 1)
    with pytest.raises(DataError, match="75 members with a known target are too few"):
        membership_attacks(*half)
    for result in membership_attacks(losses, losses):
        assert result.auc.value == 0.5
