import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reprise.evaluation.stats.significance import holm, p_value, quantile, two_sided


@given(st.floats(0, 30), st.floats(1, 1e6))
def test_the_p_value_equals_the_survival_function_on_both_sides(t: float, freedom: float) -> None:
    assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-6, abs=1e-300)


def test_known_p_values() -> None:
    """One degree of freedom is the Cauchy distribution: half of it is beyond 1. Many are the normal distribution."""
    assert two_sided(1.0, 1) == pytest.approx(1 / 2)
    assert two_sided(-1.959964, 1e9) == pytest.approx(0.05, abs=1e-6)
    assert two_sided(0.0, 7.5) == 1
    assert two_sided(math.inf, 3) == 0


def test_a_difference_without_error_is_certain() -> None:
    assert p_value(0.1, 0.0, 5) == 0
    assert p_value(0.0, 0.0, 5) == 1
    assert p_value(0.2, 0.1, 5) == two_sided(2.0, 5)


@pytest.mark.parametrize("freedom", [1, 2.5, 4, 100, 1e7])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_quantile_is_the_inverse_of_the_p_value(level: float, freedom: float) -> None:
    assert quantile(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)
    assert two_sided(quantile(level, freedom), freedom) == pytest.approx(1 - level)


def test_holm_values() -> None:
    """Sorted .01 .02 .04: times 3, 2, 1, and never below the one before."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.03, 0.03]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_between_no_correction_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(own <= found <= min(1.0, len(p) * own) + 1e-12 for own, found in zip(p, adjusted, strict=True))
    order = sorted(range(len(p)), key=p.__getitem__)
    assert [adjusted[place] for place in order] == sorted(adjusted)
