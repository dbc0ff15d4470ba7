"""What is counted for users without events, and how first events choose it."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from reprise.data import fit_popular_items as module
from reprise.data.dataset import SequenceDataset
from reprise.data.fit_popular_items import attributes_of, fit_popular_items
from reprise.data.popular_items import HOUR, WEEKDAY, Moment, PopularItems, popular_shares
from reprise.testing.worlds import world

DAY_MS = 86_400_000
USERS = 600
"""A fifth of them, 120, are held out, which is enough to choose by."""


def log(sequences: list[list[str]], start_ms: np.ndarray, **parts: int) -> SequenceDataset:
    """Return a log in which the events of a sequence follow one another in minutes."""
    dataset = world(sequences, **({"valid": 0, "test": 0} | parts))
    minutes = np.arange(dataset.events) - np.repeat(dataset.offset[:-1], np.diff(dataset.offset))
    return replace(dataset, time_ms=np.repeat(start_ms, np.diff(dataset.offset)) + minutes * 60_000)


def irregular() -> np.ndarray:
    """Return ascending start times at all hours and days."""
    return np.sort(np.random.default_rng(0).integers(0, 60 * DAY_MS, USERS))


def first(dataset: SequenceDataset, popular: PopularItems, moment: Moment) -> str:
    return str(dataset.items.item_ids([int(popular.at(moment).row_I[0]) + 1])[0])


def test_items_of_the_last_days_come_first_and_later_those_of_the_whole_log() -> None:
    day = np.sort(np.random.default_rng(0).integers(0, 60, USERS))
    sequences = [["new", "newer"] if day > 45 else ["old", "older"] for day in day.tolist()]
    dataset = log(sequences, day * DAY_MS)
    popular = fit_popular_items(dataset)
    assert popular.half_life_s < 30 * 86_400
    assert first(dataset, popular, Moment()) == first(dataset, popular, Moment(60 * 86_400)) == "new"
    assert first(dataset, popular, Moment(4000 * 86_400)) == "old"


def test_first_events_count_more_than_later_ones() -> None:
    sequences = [["door", "shoe", "hat"] if user % 2 else ["gate", "shoe", "hat"] for user in range(USERS)]
    dataset = log(sequences, np.arange(USERS) * DAY_MS // 10)
    popular = fit_popular_items(dataset)
    assert popular.entry_smoothing < np.inf
    share = dict(zip(dataset.items.item_ids(np.arange(1, 5)), popular.at(Moment()).share_I, strict=True))
    assert share["door"] == pytest.approx(share["gate"], rel=0.1)
    assert share["door"] + share["gate"] > share["shoe"] + share["hat"]
    plain = popular_shares(dataset.table, 4)
    assert plain[:2].sum() == pytest.approx(2 / 3)


def test_a_burst_of_one_item_counts_once_a_day() -> None:
    sequences = [["loud"] * 20 if user % 3 == 0 else ["calm"] for user in range(USERS)]
    dataset = log(sequences, np.arange(USERS) * DAY_MS // 10)
    popular = fit_popular_items(dataset)
    share = dict(zip(dataset.items.item_ids(np.array([1, 2])), popular.overall_I, strict=True))
    assert share == pytest.approx({"loud": 1 / 3, "calm": 2 / 3})


@pytest.mark.parametrize(("name", "period_ms"), [(HOUR, DAY_MS // 2), (WEEKDAY, DAY_MS * 3)])
def test_a_time_of_day_or_week_counts_if_first_events_depend_on_it(name: str, period_ms: int) -> None:
    sequences = [["tea" if user % 2 else "wine"] for user in range(USERS)]
    # every other visit is half a day, or half a week, after the one before
    turn_ms = DAY_MS if name == HOUR else 7 * DAY_MS
    start_ms = np.arange(USERS) // 2 * turn_ms + np.arange(USERS) % 2 * period_ms
    dataset = log(sequences, start_ms)
    popular = fit_popular_items(dataset)
    assert [context.name for context in popular.contexts] == [name]
    wine, tea = Moment(start_ms[-2] / 1000), Moment(start_ms[-1] / 1000)
    assert first(dataset, popular, wine) == "wine"
    assert first(dataset, popular, tea) == "tea"


def test_a_column_of_users_counts_if_first_events_depend_on_it() -> None:
    sequences = [["tea" if user % 2 else "wine"] for user in range(USERS)]
    dataset = log(sequences, irregular())
    countries = ["UK" if user % 2 else "FR" for user in range(USERS)]
    users = pa.table({"country": countries, "constant": ["x"] * USERS, "income": np.arange(USERS) / 7})
    dataset = replace(dataset, user_table=users)
    popular = fit_popular_items(dataset)
    (country,) = popular.contexts
    assert (country.name, set(country.values)) == ("country", {"UK", "FR"})
    assert first(dataset, popular, Moment(attributes={"country": "FR"})) == "wine"
    assert first(dataset, popular, Moment(attributes=attributes_of(dataset, 1))) == "tea"


def test_values_of_the_test_part_have_no_row() -> None:
    sequences = [["tea" if user % 2 else "wine", "tea"] for user in range(USERS)]
    dataset = log(sequences, irregular())
    valid_end = dataset.valid_end.copy()
    valid_end[-100:] = dataset.offset[-101:-1]
    countries = [("UK" if user % 2 else "FR") if user < USERS - 100 else "DE" for user in range(USERS)]
    dataset = replace(
        dataset, train_end=valid_end, valid_end=valid_end, user_table=pa.table({"country": countries})
    )
    (country,) = fit_popular_items(dataset).contexts
    assert set(country.values) == {"UK", "FR"}


def test_contexts_that_do_not_help_are_left_out() -> None:
    generator = np.random.default_rng(0)
    sequences = [[str(item)] for item in generator.zipf(1.5, USERS).clip(max=50)]
    popular = fit_popular_items(log(sequences, np.sort(generator.integers(0, 90 * DAY_MS, USERS))))
    assert popular.contexts == ()


def test_with_few_sequences_the_shares_are_those_of_all_events() -> None:
    dataset = log([["a", "b", "a"]] * 50 + [["c"]] * 49, np.arange(99) * DAY_MS, test=1)
    popular = fit_popular_items(dataset)
    shares = popular_shares(dataset.table, dataset.items.warm)
    for moment in (Moment(), Moment(200 * 86_400)):
        assert popular.at(moment).share_I.tolist() == shares.tolist()


def test_validation_events_count_if_the_network_learned_them() -> None:
    dataset = log([["a", "b", "b"]] * 50, np.arange(50) * DAY_MS, valid=1, test=1)
    assert fit_popular_items(dataset, "valid").overall_I.tolist() == [1, 0][: dataset.items.warm]
    both = log([["a", "b", "b"]] * 50 + [["b"]] * 3, np.arange(53) * DAY_MS, valid=0, test=1)
    assert both.items.warm == 2
    assert fit_popular_items(both, "test").overall_I.tolist() == [0.5, 0.5]


def test_events_of_the_test_part_change_nothing() -> None:
    generator = np.random.default_rng(1)
    sequences = [[str(item) for item in generator.integers(8, size=4)] for _ in range(USERS)]
    start_ms = np.sort(generator.integers(0, 90 * DAY_MS, USERS))
    dataset = log(sequences, start_ms, valid=1, test=1)
    item = dataset.item.copy()
    item[dataset.offset[1:] - 1] = 1
    for before in ("valid", "test"):
        found = fit_popular_items(dataset, before)
        other = fit_popular_items(replace(dataset, item=item), before)
        assert found.to_json() == other.to_json()
        for name, array in found.to_tensors().items():
            assert np.array_equal(array, other.to_tensors()[name]), name


def test_small_blocks_give_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    sequences = [[str(item) for item in generator.integers(8, size=4)] for _ in range(USERS)]
    dataset = log(sequences, np.sort(generator.integers(0, 90 * DAY_MS, USERS)))
    expected = fit_popular_items(dataset)
    blocks = module.iter_blocks
    monkeypatch.setattr(module, "iter_blocks", lambda dataset: blocks(dataset, 50))
    found = fit_popular_items(dataset)
    assert found.to_json() == expected.to_json()
    for name, array in expected.to_tensors().items():
        assert found.to_tensors()[name] == pytest.approx(array, rel=1e-5), name


def test_an_empty_log_has_no_popular_items() -> None:
    dataset = world([["a"]], valid=0, test=1)
    assert fit_popular_items(dataset).at(Moment()).share_I.tolist() == []
