"""Each leak is planted in an honest dataset and found, by its kind and its rows; honest datasets never trip."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import check_leaks, find_leaks, leak_notes
from reprise.data.leakage.findings import KINDS, Leak
from reprise.data.preparing.prepare import prepare
from reprise.errors import ConfigError, LeakError
from reprise.testing.worlds import DAY_MS, noise, world

TRAIN_END, VALID_END = DAY_MS + 14 * 60_000, DAY_MS + 17 * 60_000
BY_TIME = {"kind": "time", "train_end_ms": TRAIN_END, "valid_end_ms": VALID_END}


def honest(sequences: int = 100, items: int = 30, length: int = 20) -> SequenceDataset:
    """A minute between events; 14 of each sequence train, 3 validate, 3 test, as the two moments say."""
    draws = np.random.default_rng(1).integers(items, size=(sequences, length))
    made = world([[f"i{item}" for item in row] for row in draws], valid=3, test=3)
    return replace(made, split=BY_TIME)


def changed(dataset: SequenceDataset, **columns: Any) -> SequenceDataset:
    """A copy with other columns; what is not named is copied too, so that nothing is known of it yet."""
    return replace(dataset, **{"facts": dict(dataset.facts), **columns})


def with_table(dataset: SequenceDataset, **columns: Any) -> SequenceDataset:
    table = dataset.table
    for name, column in columns.items():
        table = table.append_column(name, pa.array(column))
    return changed(dataset, table=table)


def only(dataset: SequenceDataset) -> Leak:
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


def test_an_honest_dataset_passes_and_the_protocol_says_so() -> None:
    assert find_leaks(honest()) == ()
    assert leak_notes(honest()) == (f"Leak checks passed: {', '.join(KINDS)}.",)


def test_a_training_event_after_the_cut() -> None:
    dataset = honest()
    train_end = dataset.train_end.copy()
    train_end[4] += 2
    leak = only(changed(dataset, train_end=train_end, table=dataset.table.drop_columns("count")))
    assert (leak.kind, leak.count) == ("late-training", 2)
    assert [(row.sequence_id, row.event, row.time_ms) for row in leak.rows] == [
        (4, 14, TRAIN_END),
        (4, 15, TRAIN_END + 60_000),
    ]
    assert leak.rows[0].item_id == dataset.items.item_ids([int(dataset.item[4 * 20 + 14])])[0]
    assert "in the train part" in str(leak)
    assert "training ends 1970-01-02 00:14" in leak.sentence


def test_a_test_event_before_the_cut_is_named_too() -> None:
    dataset = honest()
    valid_end = dataset.valid_end.copy()
    valid_end[7] -= 1
    leak = only(changed(dataset, valid_end=valid_end))
    assert (leak.kind, leak.count, leak.rows[0].event) == ("late-training", 1, 16)
    assert "in the test part" in str(leak.rows[0])


@pytest.mark.parametrize("kind", ["column", "leave-one-out"])
def test_training_events_later_than_the_test_events_of_their_own_sequence(kind: str) -> None:
    dataset = changed(honest(), split={"kind": kind})
    time_ms = dataset.time_ms.copy()
    time_ms[17:20] = time_ms[0]  # the test part of the first sequence
    (leak,) = [leak for leak in find_leaks(changed(dataset, time_ms=time_ms)) if leak.fails]
    assert (leak.kind, leak.count) == ("late-training", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].event) == (0, 17)


def test_training_events_later_than_the_test_events_of_others_are_a_note() -> None:
    dataset = changed(honest(), split={"kind": "leave-one-out"})
    time_ms = dataset.time_ms.copy()
    time_ms[20:] += DAY_MS
    (leak,) = find_leaks(changed(dataset, time_ms=time_ms))
    assert not leak.fails
    assert leak.count == 99 * 14
    assert leak_notes(changed(dataset, time_ms=time_ms))[1].startswith(
        "1,386 of 1,400 training events (99.0%) are later"
    )


def test_parts_that_overlap() -> None:
    dataset = honest()
    leak = only(changed(dataset, valid_end=dataset.train_end - 1))
    assert (leak.kind, leak.count) == ("late-training", 100)


def test_a_vocabulary_that_knows_an_item_of_the_test_part() -> None:
    rows = [["a", "b", "a", "b", "a", "new"]] * 5
    dataset = world(rows, valid=1, test=1)
    table = dataset.table.drop_columns("count")
    knows = changed(dataset, items=replace(dataset.items, warm=3), table=table)
    leak = only(knows)
    assert (leak.kind, leak.count, leak.rows[0].item_id) == ("counts", 1, "new")
    assert "warm, 0 training events" in str(leak)


def test_counts_of_all_events() -> None:
    dataset = honest()
    every = counts_of(dataset, trained=True) + counts_of(dataset, trained=False)
    table = dataset.table.set_column(1, "count", pa.array(every))
    leak = only(changed(dataset, table=table))
    assert leak.kind == "counts"
    assert leak.count == np.count_nonzero(every != counts_of(dataset, trained=True))
    assert leak.rows[0].remark == f"count {every[0]}, {counts_of(dataset, trained=True)[0]} training events"


DATES = [datetime.fromtimestamp((DAY_MS if place != 2 else TRAIN_END) / 1000, UTC) for place in range(30)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(DATES, pa.timestamp("us", "UTC")),
        pa.array([moment.replace(tzinfo=None) for moment in DATES], pa.timestamp("ns")),
        pa.array([moment.isoformat() for moment in DATES]),
        pa.array([moment.strftime("%Y-%m-%d %H:%M:%S") for moment in DATES]),
    ],
    ids=["timestamp", "naive", "zoned text", "text"],
)
def test_a_trained_item_with_facts_dated_after_the_cut(column: pa.Array) -> None:
    dataset = honest()
    assert len(dataset.items) == 30
    leak = only(changed(dataset, table=dataset.table.append_column("updated", column)))
    assert (leak.kind, leak.count) == ("late-feature", 1)
    assert leak.rows[0].item_id == dataset.items.ids[2]
    assert "'updated'" in leak.sentence
    before = pa.array([DATES[0]] * 30, pa.timestamp("us", "UTC"))
    assert find_leaks(changed(dataset, table=dataset.table.append_column("updated", before))) == ()


def test_days_are_dates() -> None:
    dataset = honest()
    days = [moment.date() for moment in DATES]
    assert (
        find_leaks(with_table(dataset, updated=days)) == ()
    )  # the day on which training ends has begun before it
    assert only(with_table(dataset, updated=[*days[1:], days[0] + timedelta(days=1)])).count == 1


def test_nothing_can_be_late_where_nothing_is_trained() -> None:
    dataset = world([["a", "b"], ["b", "a"]], valid=0, test=2)
    assert find_leaks(with_table(dataset, updated=DATES[:2])) == ()


def test_numbers_are_dates_by_their_name_and_size() -> None:
    dataset = honest()
    shift = 1_700_000_000_000
    split = {**BY_TIME, "train_end_ms": TRAIN_END + shift, "valid_end_ms": VALID_END + shift}
    dataset = changed(dataset, time_ms=dataset.time_ms + shift, split=split)
    seconds = np.full(30, (DAY_MS + shift) // 1000)
    seconds[5] += 30 * 86_400
    leak = only(with_table(dataset, last_seen=seconds))
    assert (leak.kind, leak.count, leak.rows[0].item_id) == ("late-feature", 1, dataset.items.ids[5])
    assert find_leaks(with_table(dataset, price=seconds)) == ()
    assert find_leaks(with_table(dataset, year_from=np.full(30, 1995))) == ()


def test_a_date_that_is_known_ahead_is_a_note() -> None:
    (leak,) = find_leaks(with_table(honest(), available_until=DATES))
    assert (leak.kind, leak.fails) == ("late-feature", False)


def test_new_items_may_be_dated_after_the_cut() -> None:
    dataset = world([["a", "b", "a", "b", "a", "new"]] * 5)
    dates = [datetime(1970, 1, 1, tzinfo=UTC)] * 2 + [datetime(2030, 1, 1, tzinfo=UTC)]
    assert find_leaks(with_table(dataset, released=dates)) == ()


def test_a_target_whose_copy_is_among_its_inputs() -> None:
    """The copy may lie two rows before: all that share a moment are compared."""
    dataset = honest()
    item, time_ms = dataset.item.copy(), dataset.time_ms.copy()
    time_ms[177:180] = time_ms[177]
    item[177:180] = (3, 4, 3)
    leak = only(changed(dataset, item=item, time_ms=time_ms))
    assert (leak.kind, leak.count) == ("own-input", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].event) == (8, 19)
    for column, other in (("kind", np.uint8(1)), ("value", np.float32(2.5))):
        differs = getattr(dataset, column).copy()
        differs[179] = other
        facts = {column: differs, "kinds": ("view", "buy")}
        assert find_leaks(changed(dataset, item=item, time_ms=time_ms, **facts)) == ()


def test_an_input_later_than_its_target() -> None:
    dataset = changed(honest(), split={"kind": "leave-one-out"})
    time_ms = dataset.time_ms.copy()
    time_ms[[3, 4]] = time_ms[[4, 3]]
    leak = only(changed(dataset, time_ms=time_ms))
    assert (leak.kind, leak.count, leak.rows[0].event) == ("own-input", 1, 4)


def test_a_row_that_is_in_two_parts() -> None:
    dataset = changed(honest(), split={"kind": "leave-one-out"})
    item, time_ms = dataset.item.copy(), dataset.time_ms.copy()
    item[14], time_ms[14] = item[13], time_ms[13]
    made = changed(dataset, item=item, time_ms=time_ms, table=dataset.table.drop_columns("count"))
    leak = only(made)
    assert (leak.kind, leak.count) == ("duplicate", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].event) == (0, 14)


def test_a_sequence_that_is_trained_on_and_asked_about() -> None:
    """Sequence 9 is sequence 2 under another id; one is for training, the other for test."""
    rows = [[f"i{(row * 7 + step * step) % 11}" for step in range(5)] for row in range(10)]
    rows[9] = rows[2]
    made = world(rows, valid=0, test=0)
    ends = {"train_end": made.train_end.copy(), "valid_end": made.valid_end.copy()}
    for end in ends.values():
        end[9] = made.offset[9]
    time_ms = made.time_ms + np.repeat(np.arange(10) * 1000, 5)
    time_ms[45:] = time_ms[10:15]
    told = changed(
        made, **ends, time_ms=time_ms, table=made.table.drop_columns("count"), split={"kind": "column"}
    )
    (leak,) = [leak for leak in find_leaks(told) if leak.fails]
    assert (leak.kind, leak.count) == ("duplicate", 1)
    assert (leak.rows[0].sequence_id, leak.rows[0].remark) == (9, "as sequence 2")
    both_asked = changed(
        told, train_end=made.offset[:-1] + (np.arange(10) % 7 != 2) * 5, valid_end=told.valid_end
    )
    both_asked = changed(both_asked, valid_end=both_asked.train_end.copy())
    assert [leak for leak in find_leaks(both_asked) if leak.fails] == []


def following(dataset: SequenceDataset) -> np.ndarray:
    """The item after each event, as the value of the event."""
    return np.append(dataset.item[1:], 1).astype(np.float32)


def test_a_value_that_is_the_next_item() -> None:
    dataset = honest()
    leak = only(changed(dataset, value=following(dataset)))
    assert leak.kind == "giveaway"
    assert "column 'value' of the events goes by the item of the next event (100.0%)" in leak.sentence
    assert "next item" in leak.rows[0].remark
    assert find_leaks(changed(dataset, value=dataset.item.astype(np.float32))) == ()


def test_a_value_that_is_the_price_of_the_next_item() -> None:
    price = np.random.default_rng(0).integers(8, size=31).astype(np.float32)
    dataset = honest()
    assert only(changed(dataset, value=price[following(dataset).astype(int)])).kind == "giveaway"
    assert find_leaks(changed(dataset, value=price[dataset.item])) == ()


def test_a_value_from_which_the_next_item_follows() -> None:
    """It is written with the hour, so that it is no function of the next item."""
    dataset = honest()
    hour = np.random.default_rng(2).integers(3, size=dataset.events)
    leak = only(changed(dataset, value=(following(dataset) * 10 + hour).astype(np.float32)))
    assert "tells the item of the next event" in leak.sentence


def test_a_kind_that_is_the_group_of_the_next_item() -> None:
    dataset = honest()
    kinds = {"kinds": ("a", "b", "c")}
    leak = only(changed(dataset, kind=(following(dataset) % 3).astype(np.uint8), **kinds))
    assert leak.kind == "giveaway"
    assert "column 'kind'" in leak.sentence
    assert find_leaks(changed(dataset, kind=(dataset.item % 3).astype(np.uint8), **kinds)) == ()


def test_a_value_is_not_blamed_where_the_item_itself_tells_the_next() -> None:
    """In a cycle each item has one next item, so a price is of both."""
    rows = [[f"i{(start + step) % 12}" for step in range(24)] for start in range(40)]
    dataset = world(rows, valid=2, test=2)
    assert find_leaks(changed(dataset, value=following(dataset))) == ()


@pytest.mark.parametrize("of", ["all", "later", "share", "rank"])
def test_a_column_that_counts_later_events(of: str) -> None:
    generator = np.random.default_rng(3)
    rows = [[f"i{min(29, int(item))}" for item in generator.exponential(8, size=20)] for _ in range(200)]
    dataset = changed(world(rows, valid=3, test=3), split=BY_TIME)
    trained, later = counts_of(dataset, trained=True), counts_of(dataset, trained=False)
    column = {
        "all": trained + later,
        "later": later,
        "share": np.round((trained + later) / dataset.events, 4),
        "rank": np.log1p(trained + later) ** 3,
    }[of]
    leak = only(with_table(dataset, n_events=column))
    assert leak.kind == "giveaway"
    assert "'n_events'" in leak.sentence
    assert f"{trained[int(np.argmax(later))]:,} training" in leak.rows[0].remark
    assert (
        find_leaks(
            with_table(dataset, n_trained=trained, share=trained / trained.sum(), noise=generator.random(30))
        )
        == ()
    )


def test_a_search_is_made_once_a_dataset() -> None:
    dataset = honest()
    assert find_leaks(dataset) is find_leaks(dataset)


def test_a_message_names_kinds_rows_and_the_way_on() -> None:
    dataset = with_table(honest(), updated=DATES)
    with pytest.raises(LeakError) as caught:
        check_leaks(changed(dataset, value=following(dataset)))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the data gives away what a model is asked about, so that figures would be too good:"
    assert lines[1].startswith("- late-feature: column 'updated' of the item table dates 1 items")
    assert lines[2].startswith("- giveaway: column 'value' of the events")
    assert lines[3].endswith("allow_leaks=['late-feature', 'giveaway'] (--allow-leaks late-feature,giveaway)")


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown kind of leak 'late-fature'; did you mean 'late-feature'"):
        check_leaks(honest(), allow=("late-fature",))


# through `prepare`


def items_with_dates(days: list, day: int) -> pa.Table:
    moments = [datetime.fromtimestamp(days[0][2] + day * 86_400, UTC)] * 4
    return pa.table({"item_id": [f"i{item}" for item in range(4)], "updated": moments})


def test_prepare_fails_shows_nothing_and_goes_on_when_allowed(write_log, days, tmp_path: Path) -> None:
    said = {"items": items_with_dates(days, 9), "split": "last:2d,2d"}
    log, out = write_log(days), tmp_path / "out"
    with pytest.raises(LeakError, match="late-feature"):
        prepare(log, out, **said)
    assert not out.exists()
    assert (tmp_path / "out.partial").exists()
    allowed = prepare(log, out, allow_leaks=["late-feature"], **said)
    assert not (tmp_path / "out.partial").exists()
    assert allowed.facts["leaks"]["allowed"] == ["late-feature"]
    assert allowed.facts["leaks"]["found"][0]["count"] == 4
    assert any("Leak allowed: late-feature" in note for note in leak_notes(allowed))
    assert (
        leak_notes(allowed)[0] == "Leak checks passed: late-training, counts, own-input, duplicate, giveaway."
    )
    with pytest.raises(LeakError, match="late-feature"):
        prepare(log, out, **said)
    assert SequenceDataset.open(out).facts == allowed.facts


def test_what_was_allowed_changes_no_fingerprint(write_log, days, tmp_path: Path) -> None:
    one = prepare(write_log(days), tmp_path / "one", split="last:2d,2d")
    other = prepare(write_log(days), tmp_path / "other", split="last:2d,2d", allow_leaks=["giveaway"])
    assert one.fingerprint == other.fingerprint
    assert one.facts["leaks"] == {"allowed": [], "found": []}


def test_a_dataset_that_was_made_before_is_searched_too(write_log, days, tmp_path: Path) -> None:
    log, out = write_log(days), tmp_path / "out"
    prepare(log, out, split="last:2d,2d")
    train_end = np.load(out / "train_end.npy")
    train_end[0] += 1
    np.save(out / "train_end.npy", train_end)
    with pytest.raises(LeakError, match="late-training"):
        prepare(log, out, split="last:2d,2d")


def test_repeated_targets_fail_only_where_they_are_kept(write_log, days, tmp_path: Path) -> None:
    log = write_log([*days, days[-1]])
    assert check_leaks(prepare(log, tmp_path / "dropped", split="last:2d,2d")) == ()
    with pytest.raises(LeakError, match="own-input: 1 targets repeat a row"):
        prepare(log, tmp_path / "kept", split="last:2d,2d", duplicates="keep")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(["time", "leave-one-out"]))
def test_an_honest_random_log_never_trips(seed: int, split: str) -> None:
    """Skewed items, ties, kinds and prices of items, item facts of all sorts, none of which knows what comes."""
    generator = np.random.default_rng(seed)
    items, sequences, length = (int(generator.integers(2, high)) for high in (60, 80, 40))
    weight = 1 / np.arange(1, items + 1) ** generator.uniform(0, 1.5)
    draws = generator.choice(items, size=(sequences, length + 6), p=weight / weight.sum())
    made = world([[f"i{item}" for item in row] for row in draws], valid=3, test=3)
    moments = DAY_MS + np.sort(generator.integers(50 * length, size=length), kind="stable") // 40 * 60_000
    later = TRAIN_END + 60_000 * (100 * length + np.arange(6))
    cut = {"kind": "time", "train_end_ms": int(later[0]), "valid_end_ms": int(later[3])}
    price = generator.integers(1, 20, size=len(made.items) + 1).astype(np.float32)
    dataset = changed(
        made,
        time_ms=np.tile(np.concatenate([moments, later]), sequences),
        split=cut if split == "time" else {"kind": split},
        value=np.where(generator.random(made.events) < 0.8, price[made.item], np.nan).astype(np.float32),
        kind=generator.integers(3, size=made.events).astype(np.uint8),
        kinds=("view", "cart", "buy"),
    )
    size = len(made.items)
    dataset = with_table(
        dataset,
        price=price[1:],
        popular=np.asarray(made.table.column("count")),
        year=generator.integers(1950, 2020, size=size),
        released=[
            datetime.fromtimestamp(int(second), UTC) for second in generator.integers(0, 80_000, size=size)
        ],
        title=[f"{number}-0-0" for number in range(size)],
    )
    assert [str(leak) for leak in find_leaks(dataset) if leak.fails] == []


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(["last:2d,2d", "leave-one-out"]), gap=st.booleans())
def test_an_honest_random_log_can_be_prepared(tmp_path_factory, seed: int, split: str, gap: bool) -> None:
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


def test_a_long_log_is_looked_at_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found does not depend on where the blocks are cut."""
    dataset = noise()
    item, time_ms = dataset.item.copy(), dataset.time_ms.copy()
    time_ms[[59, 119]] = time_ms[[58, 118]]
    item[[59, 119]] = item[[58, 118]]
    whole = find_leaks(changed(dataset, item=item, time_ms=time_ms))
    monkeypatch.setattr("reprise.data.sequence_blocks.BLOCK_EVENTS", 60)
    assert find_leaks(changed(dataset, item=item, time_ms=time_ms)) == whole
    assert [leak.count for leak in whole if leak.kind == "own-input"] == [2]
