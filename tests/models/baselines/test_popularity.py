from dataclasses import replace

import numpy as np
import pytest
import torch
from rows import event

from reprise.errors import ConfigError, DataError
from reprise.models.baselines.popularity import Popularity, RecentPopularity, SessionPopularity
from reprise.testing.worlds import DAY_MS, world


@pytest.fixture
def small():
    """Before the test part a b a b c and a a c c; items by count: a 4, c 3, b 2; in training a 4, b 2, c 1."""
    return world([list("ababcc"), list("aaccc")], valid=1, test=1)


@pytest.fixture
def dated():
    """a on day 1, a on day 2, b on day 9, c on day 10, and a test event."""
    dataset = world([list("aabcc")], valid=0, test=1)
    return replace(dataset, time_ms=np.array([1, 2, 9, 10, 11]) * DAY_MS)


def test_popularity_is_the_share_of_the_events_before_the_test_part(small):
    assert small.items.ids.tolist() == ["a", "b", "c"]
    model = Popularity().fit(small)
    assert model.scores(model.initial_state(2)).tolist() == [[4 / 9, 2 / 9, 3 / 9]] * 2
    model.count(small, before="valid")
    assert model.scores(model.initial_state(1)).tolist() == [[4 / 7, 2 / 7, 1 / 7]]


@pytest.mark.parametrize("spec", [Popularity(), RecentPopularity()])
def test_popularity_ignores_the_history(small, spec):
    model = spec.fit(small)
    state = model.initial_state(2)
    assert torch.equal(model.scores(model.advance(state, event(1, 3))), model.scores(state))


def test_recent_popularity_counts_the_last_days(dated):
    """Seven days back from day 10 contain b and c: (1 + 1/4) / (2 + 1), and a (0 + 2/4) / (2 + 1)."""
    scores = RecentPopularity().fit(dated).score_windows(torch.zeros(1, 0))[0]
    assert scores.tolist() == pytest.approx([(0 + 2 / 4) / 3, (1 + 1 / 4) / 3, (1 + 1 / 4) / 3])
    one = RecentPopularity(window="1d").fit(dated).score_windows(torch.zeros(1, 0))[0]
    assert one.tolist() == pytest.approx([(0 + 2 / 4) / 2, (0 + 1 / 4) / 2, (1 + 1 / 4) / 2])


def test_half_life_halves_the_weight(dated):
    """With a half-life of a day and no window: ages 9, 8, 1 and 0 days."""
    found = RecentPopularity(half_life="1d").fit(dated).score_windows(torch.zeros(1, 0))[0]
    weights = [2**-9 + 2**-8, 2**-1, 1]
    expected = [
        (weight + share) / (sum(weights) + 1)
        for weight, share in zip(weights, [2 / 4, 1 / 4, 1 / 4], strict=True)
    ]
    assert found.tolist() == pytest.approx(expected)


def test_window_and_half_life_combine(dated):
    """Only b, one day old, and c are in the window."""
    found = RecentPopularity(window="7d", half_life="1d").fit(dated).score_windows(torch.zeros(1, 0))[0]
    assert found[0] == pytest.approx((0 + 2 / 4) / (1.5 + 1))
    assert found[1] == pytest.approx((0.5 + 1 / 4) / (1.5 + 1))


def test_age_is_measured_from_the_last_counted_event(dated):
    """Counted before the validation part, ages are relative to the last training event."""
    dataset = replace(dated, train_end=np.array([2]))
    model = RecentPopularity(window="1d").fit(dataset)
    model.count(dataset, before="valid")
    assert model.score_windows(torch.zeros(1, 0))[0].tolist() == pytest.approx([(1 + 1) / 2, 0, 0])


@pytest.mark.parametrize("fields", [{"window": "seven days"}, {"half_life": "0d"}])
def test_invalid_durations_are_rejected(fields):
    with pytest.raises(ConfigError, match="is not a duration; write a number and one of ms, s, min, h, d, w"):
        RecentPopularity(**fields)


def test_session_popularity_counts_the_users_events(small):
    """After c c b: c 2, b 1, a 0, plus half the global share."""
    model = SessionPopularity().fit(small)
    state = model.initial_state(1)
    for item in (3, 3, 2):
        state = model.advance(state, event(item))
    assert model.scores(state)[0].tolist() == pytest.approx([0 + 2 / 9, 1 + 1 / 9, 2 + 1.5 / 9])


def test_session_popularity_breaks_ties_by_global_popularity(small):
    """b and c occur once each, and c is globally more popular."""
    model = SessionPopularity().fit(small)
    order = model.score_windows(torch.tensor([[0, 2, 3], [0, 3, 2]])).argsort(1, descending=True) + 1
    assert order.tolist() == [[3, 2, 1], [3, 2, 1]]


def test_session_popularity_counts_the_window_only(small):
    model = SessionPopularity(window=2).fit(small)
    state = model.initial_state(1)
    for item in (3, 3, 2, 1):
        state = model.advance(state, event(item))
    assert model.scores(state)[0].tolist() == pytest.approx([1 + 2 / 9, 1 + 1 / 9, 1.5 / 9])


@pytest.mark.parametrize("spec", [Popularity(), RecentPopularity(), SessionPopularity()])
def test_empty_training_part_is_an_error(spec):
    dataset = world([list("ab")], valid=0, test=2)
    with pytest.raises(DataError, match="the training part is empty, there is nothing to count"):
        spec.fit(dataset)


def test_names_contain_the_fields_that_are_not_default():
    assert str(Popularity()) == "Popularity"
    assert str(RecentPopularity(window="1d")) == "RecentPopularity window=1d"
    assert SessionPopularity(window=5).fit(world([list("abc")])).name == "SessionPopularity window=5"
