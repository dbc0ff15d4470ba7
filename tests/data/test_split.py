"""Properties of each split, and the messages for splits that cannot be used."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprise.data.dataset import SequenceDataset
from reprise.data.preparing.prepare import prepare
from reprise.data.split import ColumnSplit, LeaveOneOut, SequenceParts, TimeSplit, parse_split
from reprise.errors import ConfigError, DataError

DAY_MS = 86_400_000
DAY_S = 86_400
START_S = 1_700_000_000
MARKED = ("session_id", "item_id", "timestamp", "split")


def times(dataset: SequenceDataset, part: str) -> np.ndarray:
    first, last = dataset.part(part)
    return np.concatenate([dataset.time_ms[a:b] for a, b in zip(first, last, strict=True)])


def parts(*lengths: tuple[int, int, int]) -> SequenceParts:
    """Return the parts of sequences with these (train, valid, test) event counts."""
    train, valid, test = np.array(lengths).T
    return SequenceParts(train + valid + test, train, valid)


extra = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 30 * DAY_S)), max_size=60)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extra, st.integers(1, 10), st.integers(1, 10))
def test_train_is_before_valid_is_before_test(
    write_log, tmp_path_factory, extra: list[tuple[int, int, int]], valid: int, test: int
) -> None:
    daily = [(user, day % 4, day * DAY_S) for user in (0, 1) for day in range(31)]
    path = write_log([(f"u{user}", item, START_S + second) for user, item, second in daily + extra])
    dataset = prepare(path, tmp_path_factory.mktemp("split") / "out", split=f"last:{valid}d,{test}d")
    split = dataset.split
    assert times(dataset, "train").max() < split["train_end_ms"] <= times(dataset, "valid").min()
    assert times(dataset, "valid").max() < split["valid_end_ms"] <= times(dataset, "test").min()
    assert split["valid_end_ms"] - split["train_end_ms"] == valid * DAY_MS
    assert sum(dataset.part_events(part) for part in ("train", "valid", "test")) == dataset.events


def test_last_split_ends_just_after_the_last_event() -> None:
    split = TimeSplit.last("1d", "2d").resolve(0, 10 * DAY_MS - 1)
    assert split == TimeSplit(7 * DAY_MS, 8 * DAY_MS)


def test_an_event_at_the_split_time_belongs_to_the_later_part(write_log, tmp_path) -> None:
    rows = [(user, day % 3, START_S // DAY_S * DAY_S + day * DAY_S) for user in range(3) for day in range(6)]
    cut = START_S // DAY_S * DAY_S * 1000 + 2 * DAY_MS
    dataset = prepare(write_log(rows), tmp_path / "out", split=TimeSplit(cut, cut + 2 * DAY_MS))
    assert [dataset.part_events(part) for part in ("train", "valid", "test")] == [6, 6, 6]


@pytest.mark.parametrize("make", [TimeSplit.last, TimeSplit.at])
def test_plain_numbers_are_neither_durations_nor_dates(make) -> None:
    with pytest.raises(ConfigError, match=r"^7 is not a (duration|date); "):
        make(7, 7)


def test_dates_mean_midnight_in_utc() -> None:
    assert TimeSplit.at("2014-09-01", "2014-09-08") == TimeSplit(1_409_529_600_000, 1_410_134_400_000)


def test_dates_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        TimeSplit.at("2014-09-08", "2014-09-01")
    assert str(caught.value) == (
        "training ends 2014-09-08 00:00, validation 2014-09-01 00:00: give the earlier time first"
    )


def test_leave_one_out_takes_the_last_two_events_of_sequences_of_three_or_more(write_log, tmp_path) -> None:
    rows = [
        (user, item, START_S + item) for user, length in ((0, 5), (1, 3), (2, 2)) for item in range(length)
    ]
    dataset = prepare(write_log(rows), tmp_path / "out", split=LeaveOneOut())
    lengths = {
        part: (dataset.part(part)[1] - dataset.part(part)[0]).tolist() for part in ("train", "valid", "test")
    }
    assert lengths == {"train": [3, 1, 2], "valid": [1, 1, 0], "test": [1, 1, 0]}
    assert dataset.facts["warnings"] == [
        "1 sequences have fewer than 3 events and are used for training only"
    ]


def marked(*sessions: tuple[str, int]) -> list[tuple]:
    """Return rows of sessions a day apart, given the part and the number of events of each."""
    return [
        (number, item, START_S + number * DAY_S + item, part)
        for number, (part, length) in enumerate(sessions)
        for item in range(length)
    ]


def test_a_split_column_assigns_each_row_to_a_part(write_log, tmp_path) -> None:
    rows = marked(("train", 3), ("train", 2), ("valid", 2), ("test", 2))
    dataset = prepare(write_log(rows, MARKED), tmp_path / "out", split=ColumnSplit("split"))
    assert [dataset.part_events(part) for part in ("train", "valid", "test")] == [5, 2, 2]
    assert dataset.split == {"kind": "column", "column": "split"}


def test_one_sequence_may_have_rows_in_all_parts(write_log, tmp_path) -> None:
    whole = [(9, item, START_S + item, part) for item, part in enumerate(["train", "train", "valid", "test"])]
    rows = [*whole, *marked(("train", 2))]
    dataset = prepare(write_log(rows, MARKED), tmp_path / "out", split="column:split")
    assert [dataset.part_events(part) for part in ("train", "valid", "test")] == [4, 1, 1]


def test_without_valid_rows_a_tenth_of_the_training_sequences_is_valid(write_log, tmp_path) -> None:
    rows = marked(*[("train", 2)] * 20, ("test", 2), ("test", 2))
    dataset = prepare(write_log(rows, MARKED), tmp_path / "out", split="column:split")
    first, last = dataset.part("valid")
    drawn = np.flatnonzero(last > first)
    assert len(drawn) == 2
    assert drawn.max() < 20
    assert dataset.part_events("train") == 36
    assert dataset.facts["warnings"][-1] == (
        "column 'split' marks no row 'valid': 2 of 20 training sequences, drawn at random, are the validation part"
    )


@pytest.mark.parametrize(
    ("sequences", "drawn"),
    [(2, 1), (20, 2), (9_999, 1_000), (30_000, 1_000), (50_000, 1_000), (100_000, 2_000)],
)
def test_a_large_log_gives_a_smaller_share_to_validation(sequences: int, drawn: int) -> None:
    both = [(2, 0, 0)] * sequences
    adjusted, _ = ColumnSplit("split").adjust(parts(*both))
    again, _ = ColumnSplit("split").adjust(parts(*both))
    assert (adjusted.valid_U > 0).sum() == drawn
    assert (adjusted.valid_U == again.valid_U).all()
    assert ((adjusted.train_U > 0) != (adjusted.valid_U > 0)).all()
    # the sample comes from the whole log, not only from its end
    assert drawn < 100 or 0.45 < np.flatnonzero(adjusted.valid_U).mean() / sequences < 0.55


def test_a_row_marked_with_an_earlier_part_than_the_row_before_is_refused(write_log, tmp_path) -> None:
    rows = [
        *marked(("train", 2), ("test", 2)),
        (7, 1, START_S + 1, "valid"),
        (7, 2, START_S + 2, "train"),
    ]
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows, MARKED), tmp_path / "out", split="column:split")
    assert str(caught.value) == (
        "row 6 is marked 'train' in column 'split', but a later part of its sequence begins before it; the parts of a "
        "sequence must follow each other in time"
    )


def test_rows_with_equal_times_are_ordered_by_part(write_log, tmp_path) -> None:
    rows = [
        *marked(("train", 2), ("train", 2), ("test", 2)),
        (7, 1, START_S, "test"),
        (7, 2, START_S, "train"),
    ]
    dataset = prepare(write_log(rows, MARKED), tmp_path / "out", split="column:split")
    assert dataset.items.item_ids(dataset.item[dataset.offset[3] :]) == [2, 1]


def test_an_unknown_part_in_the_split_column_is_refused_with_its_row(write_log, tmp_path) -> None:
    rows = marked(("train", 2), ("tset", 2))
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows, MARKED), tmp_path / "out", split="column:split")
    assert str(caught.value) == "row 3 of the split column 'split' is 'tset'; did you mean 'test'?"


def test_a_missing_split_column_suggests_a_similar_name(write_log, tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(write_log(marked(("train", 2)), MARKED), tmp_path / "out", split="column:splits")
    assert str(caught.value) == "the events have no split column 'splits'; did you mean 'split'?"


@pytest.mark.parametrize(
    ("split", "empty", "counts"),
    [
        ("at:2030-01-01,2030-02-01", "valid and test parts", "50 train, 0 valid, 0 test"),
        ("at:2023-11-20,2030-02-01", "test part", "30 train, 20 valid, 0 test"),
        ("at:2000-01-01,2000-02-01", "train and valid parts", "0 train, 0 valid, 50 test"),
    ],
)
def test_an_empty_part_is_refused_with_the_dates_of_the_log(
    write_log, days, tmp_path, split: str, empty: str, counts: str
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(write_log(days), tmp_path / "out", split=split)
    assert str(caught.value).startswith(
        f"the split leaves the {empty} empty ({counts} events): the log runs from 2023-11-14 22:13 to "
        "2023-11-23 22:13, training ends "
    )
    assert str(caught.value).endswith(
        "; choose other dates, or shorter durations such as last:1d,1d, or leave-one-out"
    )


def test_a_training_part_without_targets_is_refused(write_log, days, tmp_path) -> None:
    with pytest.raises(
        DataError, match="no sequence has two training events, so there is nothing to learn from"
    ):
        prepare(write_log(days), tmp_path / "out", split="at:2023-11-15,2023-11-20")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("last:7d,12h", TimeSplit.last("7d", "12h")),
        ("at:2014-09-01,2014-09-08", TimeSplit.at("2014-09-01", "2014-09-08")),
        ("leave-one-out", LeaveOneOut()),
        ("column:part", ColumnSplit("part")),
    ],
)
def test_parse_split_reads_every_kind(text: str, expected: object) -> None:
    assert parse_split(text) == expected


@pytest.mark.parametrize(
    "text", ["last", "last:7d", "at:2014-09-01", "column:", "leave-one-out:2", "ratio:0.8,0.1"]
)
def test_parse_split_refuses_other_text(text: str) -> None:
    with pytest.raises(ConfigError, match="write one of last:7d,7d "):
        parse_split(text)


def test_a_misspelt_split_suggests_the_right_name() -> None:
    with pytest.raises(ConfigError, match="unknown split 'leave_one_out'; did you mean 'leave-one-out'"):
        parse_split("leave_one_out")


def test_marked_valid_rows_are_not_changed() -> None:
    given = parts((2, 0, 0), (0, 1, 0), (0, 0, 3))
    assert ColumnSplit("split").adjust(given) == (given, [])


def test_leave_one_out_of_pairs_says_that_it_needs_three_events(write_log, days, tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(write_log(days[:10]), tmp_path / "out", split="leave-one-out")
    assert str(caught.value) == (
        "the split leaves the valid and test parts empty (10 train, 0 valid, 0 test events): leave-one-out needs three events "
        "per sequence, the last for test and the one before it for validation: 0 of 5 sequences have three or more events, the "
        "longest has 2; split by time (last:7d,7d), or make longer sequences (by user rather than by session)"
    )


def test_leave_one_out_of_triples_has_nothing_to_learn_from(write_log, days, tmp_path) -> None:
    with pytest.raises(
        DataError,
        match="5 of 5 sequences have three or more events, the longest has 3, and a sequence with f",
    ):
        prepare(write_log(days[:15]), tmp_path / "out", split="leave-one-out")


def test_a_column_that_marks_no_test_row_is_named(write_log, tmp_path) -> None:
    rows = marked(("train", 3), ("train", 2), ("valid", 2))
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows, MARKED), tmp_path / "out", split="column:split")
    assert str(caught.value) == (
        "the split leaves the test part empty (5 train, 2 valid, 0 test events): column 'split' marks these events, after "
        "duplicates and short sequences were dropped; mark rows of each part 'train', 'valid' or 'test', and two rows of a "
        "sequence 'train'"
    )


def test_a_split_by_time_of_one_time_names_leave_one_out(write_log, tmp_path) -> None:
    rows = [(user, item, START_S) for user in range(3) for item in range(4)]
    with pytest.raises(
        DataError, match="all events have one time, so choose a split by position: leave-one-out"
    ):
        prepare(write_log(rows), tmp_path / "out")
