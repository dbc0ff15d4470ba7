"""Each kind of leak is put into a clean dataset and found with its rows; clean datasets have no leaks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.dataset import SequenceDataset
from reprise.data.leakage import event_leaks
from reprise.data.leakage.checks import check_leaks, find_leaks, leak_notes
from reprise.data.leakage.findings import LEAK_KINDS, Leak
from reprise.data.preparing.prepare import prepare
from reprise.data.sequence_blocks import iter_blocks
from reprise.errors import ConfigError, LeakError
from reprise.testing.worlds import DAY_MS, noise, world

TRAIN_END, VALID_END = DAY_MS + 14 * 60_000, DAY_MS + 17 * 60_000
BY_TIME = {"kind": "time", "train_end_ms": TRAIN_END, "valid_end_ms": VALID_END}


def clean(sequences: int = 100, items: int = 30, length: int = 20) -> SequenceDataset:
    """Return sequences of 14 training, 3 validation and 3 test events, one minute apart, split by time."""
    draws = np.random.default_rng(1).integers(items, size=(sequences, length))
    base = world([[f"i{item}" for item in row] for row in draws], valid=3, test=3)
    return replace(base, split=BY_TIME)


def changed(dataset: SequenceDataset, **columns: Any) -> SequenceDataset:
    """Return a copy with other columns. It is a new object, so no earlier result is cached for it."""
    return replace(dataset, **{"facts": dict(dataset.facts), **columns})


def with_table(dataset: SequenceDataset, **columns: Any) -> SequenceDataset:
    table = dataset.table
    for name, column in columns.items():
        table = table.append_column(name, pa.array(column))
    return changed(dataset, table=table)


def failing_leak(dataset: SequenceDataset) -> Leak:
    (leak,) = [leak for leak in find_leaks(dataset) if leak.fails]
    with pytest.raises(LeakError, match=f"- {leak.kind}: "):
        check_leaks(dataset)
    assert check_leaks(dataset, allow=(leak.kind,))
    return leak


def counts_of(dataset: SequenceDataset, *, trained: bool) -> np.ndarray:
    part = np.zeros(dataset.events, dtype=bool)
    for first, last in zip(*dataset.part("train"), strict=True):
        part[first:last] = True
    return np.bincount(dataset.item[part == trained], minlength=len(dataset.items) + 1)[1:]


def test_a_clean_dataset_passes_all_checks() -> None:
    assert find_leaks(clean()) == ()
    assert leak_notes(clean()) == (f"Leak checks passed: {', '.join(LEAK_KINDS)}.",)


def test_training_events_after_the_end_of_training() -> None:
    dataset = clean()
    train_end = dataset.train_end.copy()
    train_end[4] += 2
    leak = failing_leak(changed(dataset, train_end=train_end, table=dataset.table.drop_columns("count")))
    assert (leak.kind, leak.count) == ("late-training", 2)
    assert [(row.sequence_id, row.event, row.time_ms) for row in leak.rows] == [
        (4, 14, TRAIN_END),
        (4, 15, TRAIN_END + 60_000),
    ]
    assert leak.rows[0].item_id == dataset.items.item_ids([int(dataset.item[4 * 20 + 14])])[0]
    assert "in the train part" in str(leak)
    assert "training ends 1970-01-02 00:14" in leak.sentence


def test_a_test_event_before_the_end_of_validation() -> None:
    dataset = clean()
    valid_end = dataset.valid_end.copy()
    valid_end[7] -= 1
    leak = failing_leak(changed(dataset, valid_end=valid_end))
    assert (leak.kind, leak.count, leak.rows[0].event) == ("late-training", 1, 16)
    assert "in the test part" in str(leak.rows[0])


@pytest.mark.parametrize("kind", ["column", "leave-one-out"])
def test_training_events_later_than_the_test_events_of_their_own_sequence(kind: str) -> None:
    dataset = changed(clean(), split={"kind": kind})
    time_ms = dataset.time_ms.copy()
    time_ms[17:20] = time_ms[0]  # the test part of the first sequence
    (leak,) = [leak for leak in find_leaks(changed(dataset, time_ms=time_ms)) if leak.fails]
    assert (leak.kind, leak.count) == ("late-training", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].event) == (0, 17)


def test_training_events_later_than_the_test_events_of_others_are_a_note() -> None:
    dataset = changed(clean(), split={"kind": "leave-one-out"})
    time_ms = dataset.time_ms.copy()
    time_ms[20:] += DAY_MS
    (leak,) = find_leaks(changed(dataset, time_ms=time_ms))
    assert not leak.fails
    assert leak.count == 99 * 14
    assert leak_notes(changed(dataset, time_ms=time_ms))[1].startswith(
        "1,386 of 1,400 training events (99.0%) are later"
    )


def test_overlapping_parts() -> None:
    dataset = clean()
    leak = failing_leak(changed(dataset, valid_end=dataset.train_end - 1))
    assert (leak.kind, leak.count) == ("late-training", 100)


def test_a_vocabulary_with_an_item_of_the_test_part() -> None:
    rows = [["a", "b", "a", "b", "a", "new"]] * 5
    dataset = world(rows, valid=1, test=1)
    table = dataset.table.drop_columns("count")
    leaking = changed(dataset, items=replace(dataset.items, warm=3, scored=3), table=table)
    leak = failing_leak(leaking)
    assert (leak.kind, leak.count, leak.rows[0].item_id) == ("counts", 1, "new")
    assert "warm, 0 training events" in str(leak)


def test_item_counts_of_all_events() -> None:
    dataset = clean()
    every = counts_of(dataset, trained=True) + counts_of(dataset, trained=False)
    table = dataset.table.set_column(1, "count", pa.array(every))
    leak = failing_leak(changed(dataset, table=table))
    assert leak.kind == "counts"
    assert leak.count == np.count_nonzero(every != counts_of(dataset, trained=True))
    assert leak.rows[0].remark == f"count {every[0]}, {counts_of(dataset, trained=True)[0]} training events"


DATES = [datetime.fromtimestamp((DAY_MS if item != 2 else TRAIN_END) / 1000, UTC) for item in range(30)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(DATES, pa.timestamp("us", "UTC")),
        pa.array([time.replace(tzinfo=None) for time in DATES], pa.timestamp("ns")),
        pa.array([time.isoformat() for time in DATES]),
        pa.array([time.strftime("%Y-%m-%d %H:%M:%S") for time in DATES]),
    ],
    ids=["timestamp", "naive", "zoned text", "text"],
)
def test_a_warm_item_with_a_date_after_the_end_of_training(column: pa.Array) -> None:
    dataset = clean()
    assert len(dataset.items) == 30
    leak = failing_leak(changed(dataset, table=dataset.table.append_column("updated", column)))
    assert (leak.kind, leak.count) == ("late-feature", 1)
    assert leak.rows[0].item_id == dataset.items.ids[2]
    assert "'updated'" in leak.sentence
    before = pa.array([DATES[0]] * 30, pa.timestamp("us", "UTC"))
    assert find_leaks(changed(dataset, table=dataset.table.append_column("updated", before))) == ()


def test_columns_of_dates_without_a_time() -> None:
    dataset = clean()
    days = [time.date() for time in DATES]
    assert (
        find_leaks(with_table(dataset, updated=days)) == ()
    )  # the day of the end of training begins before it
    assert failing_leak(with_table(dataset, updated=[*days[1:], days[0] + timedelta(days=1)])).count == 1


def test_dates_are_not_checked_without_training_events() -> None:
    dataset = world([["a", "b"], ["b", "a"]], valid=0, test=2)
    assert find_leaks(with_table(dataset, updated=DATES[:2])) == ()


def test_numbers_are_dates_if_name_and_size_indicate_it() -> None:
    dataset = clean()
    shift = 1_700_000_000_000
    split = {**BY_TIME, "train_end_ms": TRAIN_END + shift, "valid_end_ms": VALID_END + shift}
    dataset = changed(dataset, time_ms=dataset.time_ms + shift, split=split)
    seconds = np.full(30, (DAY_MS + shift) // 1000)
    seconds[5] += 30 * 86_400
    leak = failing_leak(with_table(dataset, last_seen=seconds))
    assert (leak.kind, leak.count, leak.rows[0].item_id) == ("late-feature", 1, dataset.items.ids[5])
    assert find_leaks(with_table(dataset, price=seconds)) == ()
    assert find_leaks(with_table(dataset, year_from=np.full(30, 1995))) == ()


def test_a_date_known_in_advance_is_a_note() -> None:
    (leak,) = find_leaks(with_table(clean(), available_until=DATES))
    assert (leak.kind, leak.fails) == ("late-feature", False)


def test_cold_items_may_have_later_dates() -> None:
    dataset = world([["a", "b", "a", "b", "a", "new"]] * 5)
    dates = [datetime(1970, 1, 1, tzinfo=UTC)] * 2 + [datetime(2030, 1, 1, tzinfo=UTC)]
    assert find_leaks(with_table(dataset, released=dates)) == ()


def test_a_target_with_a_copy_among_its_inputs() -> None:
    """The copy may be two rows before the target: all events with equal times are compared."""
    dataset = clean()
    item, time_ms = dataset.item.copy(), dataset.time_ms.copy()
    time_ms[177:180] = time_ms[177]
    item[177:180] = (3, 4, 3)
    leak = failing_leak(changed(dataset, item=item, time_ms=time_ms))
    assert (leak.kind, leak.count) == ("own-input", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].event) == (8, 19)
    for column, other in (("kind", np.uint8(1)), ("value", np.float32(2.5))):
        differs = getattr(dataset, column).copy()
        differs[179] = other
        facts = {column: differs, "kinds": ("view", "buy")}
        assert find_leaks(changed(dataset, item=item, time_ms=time_ms, **facts)) == ()


def test_an_input_later_than_its_target() -> None:
    dataset = changed(clean(), split={"kind": "leave-one-out"})
    time_ms = dataset.time_ms.copy()
    time_ms[[3, 4]] = time_ms[[4, 3]]
    leak = failing_leak(changed(dataset, time_ms=time_ms))
    assert (leak.kind, leak.count, leak.rows[0].event) == ("own-input", 1, 4)


def test_a_row_in_two_parts() -> None:
    dataset = changed(clean(), split={"kind": "leave-one-out"})
    item, time_ms = dataset.item.copy(), dataset.time_ms.copy()
    item[14], time_ms[14] = item[13], time_ms[13]
    base = changed(dataset, item=item, time_ms=time_ms, table=dataset.table.drop_columns("count"))
    leak = failing_leak(base)
    assert (leak.kind, leak.count) == ("duplicate", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].event) == (0, 14)


def test_a_sequence_in_the_training_part_and_in_the_test_part() -> None:
    """Sequence 9 equals sequence 2; one is in the training part, the other in the test part."""
    rows = [[f"i{(row * 7 + step * step) % 11}" for step in range(5)] for row in range(10)]
    rows[9] = rows[2]
    base = world(rows, valid=0, test=0)
    ends = {"train_end": base.train_end.copy(), "valid_end": base.valid_end.copy()}
    for end in ends.values():
        end[9] = base.offset[9]
    time_ms = base.time_ms + np.repeat(np.arange(10) * 1000, 5)
    time_ms[45:] = time_ms[10:15]
    leaking = changed(
        base, **ends, time_ms=time_ms, table=base.table.drop_columns("count"), split={"kind": "column"}
    )
    (leak,) = [leak for leak in find_leaks(leaking) if leak.fails]
    assert (leak.kind, leak.count) == ("duplicate", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].remark) == (9, "equals sequence 2")
    both_tested = changed(
        leaking, train_end=base.offset[:-1] + (np.arange(10) % 7 != 2) * 5, valid_end=leaking.valid_end
    )
    both_tested = changed(both_tested, valid_end=both_tested.train_end.copy())
    assert [leak for leak in find_leaks(both_tested) if leak.fails] == []


def following(dataset: SequenceDataset) -> np.ndarray:
    """Return the item after each event, as a value of the event."""
    return np.append(dataset.item[1:], 1).astype(np.float32)


def test_a_value_that_equals_the_next_item() -> None:
    dataset = clean()
    leak = failing_leak(changed(dataset, value=following(dataset)))
    assert leak.kind == "giveaway"
    assert "column 'value' of the events depends on the item of the next event (100.0%)" in leak.sentence
    assert "next item" in leak.rows[0].remark
    assert find_leaks(changed(dataset, value=dataset.item.astype(np.float32))) == ()


def test_a_value_that_is_the_price_of_the_next_item() -> None:
    price = np.random.default_rng(0).integers(8, size=31).astype(np.float32)
    dataset = clean()
    assert failing_leak(changed(dataset, value=price[following(dataset).astype(int)])).kind == "giveaway"
    assert find_leaks(changed(dataset, value=price[dataset.item])) == ()


def test_a_value_that_predicts_the_next_item() -> None:
    """The value also contains the hour, so the next item does not determine it."""
    dataset = clean()
    hour = np.random.default_rng(2).integers(3, size=dataset.events)
    leak = failing_leak(changed(dataset, value=(following(dataset) * 10 + hour).astype(np.float32)))
    assert "predicts the item of the next event" in leak.sentence


def test_a_kind_that_is_the_group_of_the_next_item() -> None:
    dataset = clean()
    kinds = {"kinds": ("a", "b", "c")}
    leak = failing_leak(changed(dataset, kind=(following(dataset) % 3).astype(np.uint8), **kinds))
    assert leak.kind == "giveaway"
    assert "column 'kind'" in leak.sentence
    assert find_leaks(changed(dataset, kind=(dataset.item % 3).astype(np.uint8), **kinds)) == ()


def test_a_value_is_not_a_leak_if_its_own_item_predicts_the_next() -> None:
    """In a cycle each item has one next item, so a value belongs to both."""
    rows = [[f"i{(start + step) % 12}" for step in range(24)] for start in range(40)]
    dataset = world(rows, valid=2, test=2)
    assert find_leaks(changed(dataset, value=following(dataset))) == ()


@pytest.mark.parametrize("counted", ["all", "later", "share", "rank"])
def test_a_column_that_counts_later_events(counted: str) -> None:
    generator = np.random.default_rng(3)
    rows = [[f"i{min(29, int(item))}" for item in generator.exponential(8, size=20)] for _ in range(200)]
    dataset = changed(world(rows, valid=3, test=3), split=BY_TIME)
    trained, later = counts_of(dataset, trained=True), counts_of(dataset, trained=False)
    column = {
        "all": trained + later,
        "later": later,
        "share": np.round((trained + later) / dataset.events, 4),
        "rank": np.log1p(trained + later) ** 3,
    }[counted]
    leak = failing_leak(with_table(dataset, n_events=column))
    assert leak.kind == "giveaway"
    assert "'n_events'" in leak.sentence
    assert f"{trained[int(np.argmax(later))]:,} training" in leak.rows[0].remark
    assert (
        find_leaks(
            with_table(dataset, n_trained=trained, share=trained / trained.sum(), noise=generator.random(30))
        )
        == ()
    )


def kinds_of_counts(counts: np.ndarray) -> dict[str, pa.Array]:
    """Columns of lists and texts that hold counts."""
    generator = np.random.default_rng(5)
    return {
        "reviewers": pa.array([list(range(count)) for count in counts]),
        "vector": pa.array(
            [[number, float(count), 1.0] for number, count in zip(generator.random(30), counts, strict=True)]
        ),
        "badge": pa.array([f"{count * 1000:,} sold" for count in counts]),
    }


@pytest.mark.parametrize("name", ["reviewers", "vector", "badge"])
def test_lists_vectors_and_texts_that_count_later_events(name: str) -> None:
    generator = np.random.default_rng(3)
    rows = [[f"i{min(29, int(item))}" for item in generator.exponential(8, size=20)] for _ in range(200)]
    dataset = changed(world(rows, valid=3, test=3), split=BY_TIME)
    trained, later = counts_of(dataset, trained=True), counts_of(dataset, trained=False)
    leak = failing_leak(with_table(dataset, **{name: kinds_of_counts(trained + later)[name]}))
    assert (
        leak.kind == "giveaway"
        and f"column {name!r} of the item table follows the number of all" in leak.sentence
    )
    assert find_leaks(with_table(dataset, **{name: kinds_of_counts(trained)[name]})) == ()


def test_lists_of_dates_after_the_end_of_training() -> None:
    dataset = clean()
    early = [DATES[0]]
    restocked = pa.array([early, early * 2, None, [], [DATES[0], DATES[2]], *[early] * 25])
    leak = failing_leak(with_table(dataset, restocked=restocked))
    assert (leak.kind, leak.count, leak.rows[0].item_id) == ("late-feature", 1, dataset.items.ids[4])


def test_ordinary_lists_and_texts_are_not_leaks() -> None:
    generator = np.random.default_rng(7)
    columns = {
        "tags": [list(range(generator.integers(4))) for _ in range(30)],
        "image": list(generator.normal(size=(30, 8))),
        "title": [f"model {row} of {generator.integers(99)}" for row in range(30)],
        "empty": pa.array([[]] * 30, pa.list_(pa.int64())),
    }
    assert find_leaks(with_table(clean(), **columns)) == ()


def test_the_leaks_of_a_dataset_are_cached() -> None:
    dataset = clean()
    assert find_leaks(dataset) is find_leaks(dataset)


def test_the_error_names_kinds_counts_and_remedy() -> None:
    dataset = with_table(clean(), updated=DATES)
    with pytest.raises(LeakError) as caught:
        check_leaks(changed(dataset, value=following(dataset)))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the dataset leaks its targets, so metrics would be too high:"
    assert lines[1].startswith(
        "- late-feature: column 'updated' of the item table has dates at or after the end of training"
    )
    assert lines[2].startswith("- giveaway: column 'value' of the events")
    assert lines[3].endswith("allow_leaks=['late-feature', 'giveaway'] (--allow-leaks late-feature,giveaway)")


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown kind of leak 'late-fature'; did you mean 'late-feature'"):
        check_leaks(clean(), allow=("late-fature",))


# through `prepare`


def items_with_dates(days: list, day: int) -> pa.Table:
    times = [datetime.fromtimestamp(days[0][2] + day * 86_400, UTC)] * 4
    return pa.table({"item_id": [f"i{item}" for item in range(4)], "updated": times})


def test_prepare_fails_on_a_leak_and_continues_if_it_is_allowed(write_log, days, tmp_path: Path) -> None:
    options = {"items": items_with_dates(days, 9), "split": "last:2d,2d"}
    log, out = write_log(days), tmp_path / "out"
    with pytest.raises(LeakError, match="late-feature"):
        prepare(log, out, **options)
    assert not out.exists()
    assert (tmp_path / "out.partial").exists()
    allowed = prepare(log, out, allow_leaks=["late-feature"], **options)
    assert not (tmp_path / "out.partial").exists()
    assert allowed.facts["leaks"]["allowed"] == ["late-feature"]
    assert allowed.facts["leaks"]["found"][0]["count"] == 4
    assert any("Leak allowed: late-feature" in note for note in leak_notes(allowed))
    assert (
        leak_notes(allowed)[0] == "Leak checks passed: late-training, counts, own-input, duplicate, giveaway."
    )
    with pytest.raises(LeakError, match="late-feature"):
        prepare(log, out, **options)
    assert SequenceDataset.open(out).facts == allowed.facts


def test_allowed_leaks_do_not_change_the_fingerprint(write_log, days, tmp_path: Path) -> None:
    one = prepare(write_log(days), tmp_path / "one", split="last:2d,2d")
    other = prepare(write_log(days), tmp_path / "other", split="last:2d,2d", allow_leaks=["giveaway"])
    assert one.fingerprint == other.fingerprint
    assert one.facts["leaks"] == {"allowed": [], "found": []}


def test_an_existing_dataset_is_checked_again(write_log, days, tmp_path: Path) -> None:
    log, out = write_log(days), tmp_path / "out"
    prepare(log, out, split="last:2d,2d")
    train_end = np.load(out / "train_end.npy")
    train_end[0] += 1
    np.save(out / "train_end.npy", train_end)
    with pytest.raises(LeakError, match="late-training"):
        prepare(log, out, split="last:2d,2d")


def test_repeated_targets_fail_only_with_duplicates_keep(write_log, days, tmp_path: Path) -> None:
    log = write_log([*days, days[-1]])
    assert check_leaks(prepare(log, tmp_path / "dropped", split="last:2d,2d")) == ()
    with pytest.raises(LeakError, match="own-input: 1 targets are copies of one of their inputs"):
        prepare(log, tmp_path / "kept", split="last:2d,2d", duplicates="keep")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(["time", "leave-one-out"]))
def test_a_clean_random_log_has_no_leaks(seed: int, split: str) -> None:
    """Skewed items, ties, kinds, prices and item features that contain no information about later events."""
    generator = np.random.default_rng(seed)
    items, sequences, length = (int(generator.integers(2, high)) for high in (60, 80, 40))
    weight = 1 / np.arange(1, items + 1) ** generator.uniform(0, 1.5)
    draws = generator.choice(items, size=(sequences, length + 6), p=weight / weight.sum())
    base = world([[f"i{item}" for item in row] for row in draws], valid=3, test=3)
    times = DAY_MS + np.sort(generator.integers(50 * length, size=length), kind="stable") // 40 * 60_000
    later = TRAIN_END + 60_000 * (100 * length + np.arange(6))
    cut = {"kind": "time", "train_end_ms": int(later[0]), "valid_end_ms": int(later[3])}
    price = generator.integers(1, 20, size=len(base.items) + 1).astype(np.float32)
    dataset = changed(
        base,
        time_ms=np.tile(np.concatenate([times, later]), sequences),
        split=cut if split == "time" else {"kind": split},
        value=np.where(generator.random(base.events) < 0.8, price[base.item], np.nan).astype(np.float32),
        kind=generator.integers(3, size=base.events).astype(np.uint8),
        kinds=("view", "cart", "buy"),
    )
    size = len(base.items)
    dataset = with_table(
        dataset,
        price=price[1:],
        popular=np.asarray(base.table.column("count")),
        year=generator.integers(1950, 2020, size=size),
        released=[
            datetime.fromtimestamp(int(second), UTC) for second in generator.integers(0, 80_000, size=size)
        ],
        title=[f"{number}-0-0" for number in range(size)],
    )
    assert [str(leak) for leak in find_leaks(dataset) if leak.fails] == []


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(["last:2d,2d", "leave-one-out"]), gap=st.booleans())
def test_a_clean_random_log_can_be_prepared(tmp_path_factory, seed: int, split: str, gap: bool) -> None:
    generator = np.random.default_rng(seed)
    count = 400
    log = pa.table(
        {
            "user_id": generator.integers(12, size=count),
            "item_id": generator.integers(15, size=count),
            "timestamp": 1_700_000_000 + generator.integers(20_000, size=count) * 60,
            "kind": generator.choice(["view", "buy"], size=count),
        }
    )
    options = {"session_gap": "12h"} if gap else {}
    dataset = prepare(log, tmp_path_factory.mktemp("out") / "data", split=split, **options)
    assert [leak for leak in find_leaks(dataset) if leak.fails] == []


def test_leaks_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = noise()
    item, time_ms = dataset.item.copy(), dataset.time_ms.copy()
    time_ms[[59, 119]] = time_ms[[58, 118]]
    item[[59, 119]] = item[[58, 118]]
    whole = find_leaks(changed(dataset, item=item, time_ms=time_ms))
    monkeypatch.setattr(event_leaks, "iter_blocks", partial(iter_blocks, events=60))
    assert find_leaks(changed(dataset, item=item, time_ms=time_ms)) == whole
    assert [leak.count for leak in whole if leak.kind == "own-input"] == [2]
