import numpy as np
import pytest

from reprise.evaluation import target_histories
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.ranking.targets import TargetRanks
from reprise.evaluation.slices import NONE, by_age, by_gap, by_history, by_kind, by_popularity, dimensions
from reprise.evaluation.target_histories import mean_before, seen_before
from reprise.testing.worlds import world

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def targets(dataset, row, position) -> TargetRanks:
    """Return targets whose ranks do not matter."""
    zero = np.zeros(len(row), dtype=np.int32)
    return TargetRanks(np.array(row), np.array(position), zero, zero)


def names(found) -> list[str | None]:
    every, slice_N = found
    return [None if number == NONE else every[number] for number in slice_N]


def test_popularity_slices():
    """Ten training events: a 5, b 3, c and d 1. a has half; b goes from .5 to .8; c begins at .8. z is cold."""
    dataset = world([list("aaaaabbbcd") + list("abcdz")], valid=0, test=5)
    found = names(by_popularity(dataset, targets(dataset, [0] * 5, range(10, 15))))
    assert found == ["head", "torso", "tail", "tail", None]


def test_an_item_across_a_border_is_in_the_more_popular_slice():
    """a has 4 of 10 events, b the next 4: it begins before half."""
    dataset = world([list("aaaabbbbcd") + list("bc")], valid=0, test=2)
    assert names(by_popularity(dataset, targets(dataset, [0, 0], [10, 11]))) == ["head", "tail"]


def test_history_slices():
    dataset = world([["a"] * 60, ["a"] * 60])
    before = [1, 2, 4, 5, 9, 10, 19, 20, 49, 50, 59]
    found = names(by_history(dataset, targets(dataset, [1] * len(before), [60 + n for n in before])))
    assert found == [
        "history_1", "history_2-4", "history_2-4", "history_5-9", "history_5-9", "history_10-19",
        "history_10-19", "history_20-49", "history_20-49", "history_50+", "history_50+",
    ]  # fmt: skip


def test_gap_slices():
    gaps = [0, MINUTE - 1, MINUTE, HOUR, DAY, 7 * DAY]
    dataset = world([["a"] * 7])
    dataset.time_ms[:] = np.cumsum([0, *gaps])
    assert names(by_gap(dataset, targets(dataset, [0] * 6, range(1, 7)))) == [
        "gap_under_1min", "gap_under_1min", "gap_1min-1h", "gap_1h-1d", "gap_1d-1w", "gap_over_1w",
    ]  # fmt: skip


def test_the_age_of_an_item_counts_from_its_first_event_in_any_sequence():
    dataset = world([list("abbbbb"), list("bccc")], valid=1, test=3)
    day_E = np.array([0, 0.5, 1, 2, 40, 200, 0, 5, 5, 6])
    dataset.time_ms[:] = (day_E * DAY).astype(np.int64)
    # b begins with the second sequence, on day 0; c on day 5, before the part of its targets
    found = names(by_age(dataset, targets(dataset, [0] * 5 + [1] * 2, [1, 2, 3, 4, 5, 8, 9])))
    assert found == [
        "age_under_1d", "age_1d-1w", "age_1d-1w", "age_30d-180d", "age_over_180d", "age_under_1d", "age_1d-1w",
    ]  # fmt: skip


def test_the_kind_is_that_of_the_target():
    dataset = world([list("aba")])
    dataset.kind[:] = [0, 1, 0]
    object.__setattr__(dataset, "kinds", ("click", "buy"))
    assert names(by_kind(dataset, targets(dataset, [0, 0], [1, 2]))) == ["kind_buy", "kind_click"]


@pytest.mark.parametrize("events", [1, 7, 1 << 20])
def test_seen_items_and_means_equal_those_of_a_loop(monkeypatch, events):
    """For all block sizes, with sequences without targets in between."""
    monkeypatch.setattr(target_histories, "EVENTS_PER_BLOCK", events)
    generator = np.random.default_rng(0)
    rows = [[f"i{item}" for item in generator.integers(12, size=size)] for size in (9, 1, 30, 3, 2, 14, 6)]
    dataset = world(rows, valid=0, test=4)
    value_I = generator.random(dataset.items.warm)
    row, position = [], []
    for of, (first, last) in enumerate(zip(dataset.offset[:-1], dataset.offset[1:], strict=True)):
        if of != 4:
            own = range(max(first + 1, last - 5), last)
            row += [of] * len(own)
            position += own
    seen_N = seen_before(dataset, np.array(row), np.array(position))
    mean_N = mean_before(dataset, np.array(row), np.array(position), value_I)
    for of, at, seen, mean in zip(row, position, seen_N, mean_N, strict=True):
        before = dataset.item[dataset.offset[of] : at]
        warm = before[before <= dataset.items.warm]
        assert seen == (dataset.item[at] in before)
        assert mean == pytest.approx(value_I[warm - 1].mean() if len(warm) else np.nan, nan_ok=True)


def test_every_target_is_in_one_slice_of_a_dimension(hard, fading):
    """A cold target is in no slice of popularity."""
    report = evaluate(fading(hard.items.warm), hard, at=(3,))
    dimensions_found = {part.of for part in report.slices.values()}
    assert dimensions_found == {"item", "popularity", "repeat", "history", "gap", "time"}
    for of in dimensions_found:
        parts = [part for part in report.slices.values() if part.of == of]
        cold = report.slices["cold"].targets if of == "popularity" else 0
        assert sum(part.targets for part in parts) == report.targets - cold
        assert len(parts) > 1
        assert all(part.targets == part.sums.targets_S.sum() > 0 for part in parts)


def test_a_slice_is_the_mean_over_its_targets(table):
    """Targets a, b, a after histories of 2, 2 and 5 events; with b ranked first, one of the first two is right."""
    dataset = world([list("aba"), list("bab"), list("ababaa")], valid=0, test=1)
    report = evaluate(table([1.0, 2.0]), dataset, at=(1,))
    assert report.slices["history_2-4"].metrics["recall@1"].value == 1 / 2
    assert report.slices["history_5-9"].metrics["recall@1"].value == 0


def test_a_dimension_with_one_slice_is_left_out():
    dataset = world([list("aba"), list("bab")])
    assert [it.of for it in dimensions(dataset, targets(dataset, [0, 1], [2, 5]))] == ["popularity"]
