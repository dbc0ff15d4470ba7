from collections import Counter
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch

from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.session_knn import RECENCY_TIE_BREAK, SessionKNN, latest_of_items
from reprise.models.counts.session_matrix import TIE_BREAK_SCALE, find_sessions
from reprise.testing.worlds import DAY_MS, memory, noise, world


def score_by_loops(dataset, spec, window):
    """Compute the formula session by session; return the score by item index."""
    sessions = find_sessions(dataset, "test", spec.length)
    pairs = zip(sessions.start[:-1], sessions.start[1:], strict=True)
    rows = [
        dict(zip(sessions.item_P[first:last].tolist(), sessions.place_P[first:last].tolist(), strict=True))
        for first, last in pairs
    ]
    sessions_of = Counter(item for row in rows for item in row)
    idf = {item: log(1 + len(rows) / count) for item, count in sessions_of.items()}
    own = sessions.repeat_weight if spec.repeat_weight is None else spec.repeat_weight
    ago = {item: len(window) - 1 - place for place, item in enumerate(window) if item}
    near = {}
    for number, row in enumerate(rows):
        common = [
            item
            for item in row
            if item in ago and sum(item in later for later in rows[number + 1 :]) < spec.sessions
        ]
        if common:
            r = sum(exp(-ago[item] / spec.decay) * idf[item] ** 2 for item in common)
            near[number] = r / len(row) ** spec.size_power, min(common, key=lambda item: ago[item])
    kept = sorted(near, key=lambda number: (near[number][0], number))[-spec.neighbours :]
    scores = dict.fromkeys(range(1, dataset.items.warm + 1), 0.0)
    for number in kept:
        r, latest = near[number]
        for item, place in rows[number].items():
            proximity = 1 if spec.spread is None else exp(-abs(place - rows[number][latest]) / spec.spread)
            scores[item] += r**spec.sharpness * proximity * idf[item]
    return {item: score * (own if item in ago else 1) for item, score in scores.items()}


@pytest.mark.parametrize(
    "spec",
    [
        SessionKNN(),
        SessionKNN(window=3, decay=1.0, repeat_weight=0.5, length=6),
        SessionKNN(window=12, neighbours=4, sharpness=1.0, size_power=0.5),
        SessionKNN(sessions=3, spread=None),
    ],
    ids=str,
)
def test_scores_match_the_formula(spec):
    dataset = noise(items=15, sequences=25, length=9)
    model = spec.fit(dataset)
    windows = torch.randint(0, 16, (12, spec.window), generator=torch.Generator().manual_seed(0))
    windows[0] = 0
    found = model.score_windows(windows) - model._tie_I
    for scores, window in zip(found, windows.tolist(), strict=True):
        expected = score_by_loops(dataset, spec, window)
        torch.testing.assert_close(scores, torch.tensor(list(expected.values())), rtol=1e-4, atol=1e-5)


def test_without_history_the_scores_are_popularity():
    dataset = noise(items=15, sequences=25)
    model = SessionKNN().fit(dataset)
    order = model.scores(model.initial_state(1)).argsort(descending=True)
    shares = model.scores(model.initial_state(1)) / TIE_BREAK_SCALE
    assert float(shares.sum()) == pytest.approx(1, abs=1e-5)
    assert order[0, :2].tolist() == [0, 1]  # the vocabulary is sorted by popularity


def test_of_equally_similar_sessions_the_later_is_used():
    """Both sessions with a are equally similar; the second is later."""
    dataset = world([list("abx"), list("acx"), list("dex"), list("dex")], valid=0, test=1)
    dataset = replace(dataset, time_ms=np.arange(dataset.events) * DAY_MS)
    model = SessionKNN(neighbours=1, window=1).fit(dataset)
    scores = model.score_windows(torch.tensor([[dataset.items.index("a")]]))[0]
    assert scores[dataset.items.index("b") - 1] < scores[dataset.items.index("c") - 1]
    assert RECENCY_TIE_BREAK < 1e-3


def test_half_life_prefers_recent_sessions():
    """c follows a more often, b more recently."""
    rows = [list("acx"), list("acx"), list("abx"), list("dex")]
    dataset = world(rows, valid=0, test=1)
    days = [0, 0, 0, 1, 1, 1, 90, 90, 90, 91, 91, 91]
    dataset = replace(dataset, time_ms=np.array(days) * DAY_MS)
    a, b, c = (dataset.items.index(item) for item in "abc")
    without, with_half_life = (
        spec.fit(dataset).score_windows(torch.tensor([[0] * 19 + [a]]))[0]
        for spec in (SessionKNN(), SessionKNN(half_life="30d"))
    )
    assert without[c - 1] > without[b - 1]
    assert with_half_life[c - 1] < with_half_life[b - 1]


def test_only_the_latest_sessions_of_an_item_are_compared():
    dataset = world([list("abx"), list("abcx"), list("abcdx"), list("bcdex")], valid=0, test=1)
    sessions = find_sessions(dataset, "test", length=9)
    latest = latest_of_items(sessions, 2)
    found = Counter(sessions.item_P[latest].tolist())
    assert found == {dataset.items.index(item): 2 for item in "abcd"} | {dataset.items.index("e"): 1}
    assert sessions.session_P[latest].min() == 1  # each item of the first is in two later ones


def test_sessions_that_are_never_compared_are_dropped():
    dataset = noise(items=5, sequences=100)
    assert len(SessionKNN(sessions=3).fit(dataset)._sessions.last_ms_S) <= 15


def test_chunk_size_does_not_change_the_scores(monkeypatch):
    dataset = noise(items=20, sequences=40)
    windows = torch.randint(0, 21, (30, 20), generator=torch.Generator().manual_seed(0))
    model = SessionKNN(neighbours=6).fit(dataset)
    whole = model.score_windows(windows)
    monkeypatch.setattr("reprise.models.counts.session_matrix.PAIRS_PER_CHUNK", 300)
    assert torch.equal(model.score_windows(windows), whole)


def test_repeat_weight_ranks_repeated_items():
    """The target is one of the last two items: ranked first by default, and last with repeat_weight=0."""
    dataset = memory(2, sequences=60)
    default, zero = (
        evaluate(spec.fit(dataset), dataset, at=(2,)).metrics["recall@2"].value
        for spec in (SessionKNN(), SessionKNN(repeat_weight=0.0))
    )
    assert default > 0.9
    assert zero < 0.1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": 51}, "window must be at most 50, got 51"),
        ({"half_life": "soon"}, "'soon' is not a duration"),
        ({"spread": 0}, "spread must be above 0, got 0"),
    ],
)
def test_fields_out_of_range_are_rejected(fields, message):
    with pytest.raises(ConfigError, match=message):
        SessionKNN(**fields)


def test_empty_training_part_is_an_error():
    with pytest.raises(DataError, match="the training part is empty, there is nothing to count"):
        SessionKNN().fit(world([list("ab")], valid=0, test=2))
