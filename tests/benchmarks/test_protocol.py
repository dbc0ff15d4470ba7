"""Peers are evaluated outside the library; their metrics must equal those of `reprise.evaluate` for the same model."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from reprise import Popularity, evaluate
from reprise.data.dataset import Part, SequenceDataset
from reprise.evaluation.options import QUICK
from reprise.models.counts.counting import item_counts

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import a benchmark module as the scripts in its folder do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import protocol

    yield protocol
    del sys.modules["protocol"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import clock

    yield clock
    del sys.modules["clock"]


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("min_history", [1, 4])
def test_a_peer_is_measured_as_reprise_measures(
    protocol: ModuleType, path: Path, part: Part, exclude_seen: bool, min_history: int
) -> None:
    dataset = SequenceDataset.open(path)
    report = evaluate(
        Popularity().fit(dataset),
        dataset,
        part=part,
        exclude_seen=exclude_seen,
        min_history=min_history,
        options=QUICK,
    )
    log = protocol.Log.open(path)
    targets = log.targets(part, min_history)
    # ties on purpose: popularity has many, and they are averaged on both sides
    count_I = item_counts(dataset, before=part).numpy()
    halves = np.array_split(np.tile(count_I, (len(targets.row_N), 1)), 2)
    sums = protocol.measure(log, targets, iter(halves), exclude_seen)
    assert (targets.item_N > log.warm).any() or part == "valid"
    assert sums.means() == {
        name: pytest.approx(report.metrics[name].value, abs=1e-6) for name in protocol.METRICS
    }
    assert sums.row_S.tolist() == report.sums.row_S.tolist()
    assert sums.targets_S.tolist() == report.sums.targets_S.tolist()


def test_the_context_is_all_warm_events_before_the_target(protocol: ModuleType, path: Path) -> None:
    dataset, log = SequenceDataset.open(path), protocol.Log.open(path)
    targets = log.targets("test", 1)
    warm_item = log.warm_item
    first_U, last_U = dataset.part("test")
    expected = [
        [int(item) for item in dataset.item[dataset.offset[row] : position] if item <= dataset.items.warm]
        for row in range(len(dataset))
        for position in range(int(first_U[row]), int(last_U[row]))
        if position > dataset.offset[row]
    ]
    found = [
        warm_item[first:last].tolist() for first, last in zip(targets.first_N, targets.last_N, strict=True)
    ]
    assert found == expected


def test_training_events_are_those_before_the_cut(protocol: ModuleType, path: Path) -> None:
    dataset, log = SequenceDataset.open(path), protocol.Log.open(path)
    row_E, item_E, time_ms_E = log.training()
    expected = [
        (row, int(dataset.item[position]), int(dataset.time_ms[position]))
        for row in range(len(dataset))
        for position in range(int(dataset.offset[row]), int(dataset.train_end[row]))
    ]
    assert list(zip(row_E.tolist(), item_E.tolist(), time_ms_E.tolist(), strict=True)) == expected


def test_an_item_that_a_peer_does_not_know_is_a_miss(protocol: ModuleType, path: Path) -> None:
    log = protocol.Log.open(path)
    targets = log.targets("test", 1)
    nothing = np.full((len(targets.row_N), log.warm), -np.inf)
    assert set(protocol.measure(log, targets, [nothing], False).means().values()) == {0.0}


def test_saved_sums_are_arrays(protocol: ModuleType, path: Path, tmp_path: Path) -> None:
    sums = protocol.Sums(np.array([2, 5]), np.array([1, 2]), ("ndcg@10",), np.array([[1.0], [0.5]]))
    sums.save(tmp_path / "sums" / "run.npz")
    with np.load(tmp_path / "sums" / "run.npz", allow_pickle=False) as file:
        assert file["metrics"].tolist() == ["ndcg@10"] and file["sum_SM"].tolist() == [[1.0], [0.5]]
    assert sums.means() == {"ndcg@10": 0.5}


def test_the_clock_stops_during_an_evaluation(clock: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(clock.time, "process_time", lambda: now)
    seen: list[tuple[float, ...]] = []

    def on_time(watch: object) -> None:
        nonlocal now
        seen.append((watch.time_s, watch.seconds, watch.events, watch.events_per_s))  # type: ignore[attr-defined]
        now += 100.0

    watch = clock.Clock(3.5, [0.5, 1.5], 1.0, on_time)
    watch.start()
    ended = []
    for _ in range(4):
        now += 1.0
        ended.append(watch.tick(10))
    assert ended == [False, False, False, True]
    assert seen == [(0.5, 1.0, 10, None), (1.5, 2.0, 20, 10.0), (3.5, 4.0, 40, 10.0)]
    watch.finish()
    assert len(seen) == 3, "an end is measured once"


def test_other_parts_can_be_measured_before_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measurement_log

    parser = argparse.ArgumentParser()
    measurement_log.add_options(parser)
    command = ["shop", "--seconds", "1e9", "--times", "0", "--parts", "test", "--early-parts", "valid"]
    sums = measurement_log.Sums(np.array([0]), np.array([1]), ("mrr@20",), np.array([[0.5]]))
    clock = measurement_log.Notes(parser.parse_args(command), "peer", lambda part: sums).clock
    clock.start()
    assert not clock.tick(1)
    clock.finish()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["part"] for line in lines] == ["valid", "test"]


def test_runs_on_other_targets_are_not_drawn_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import curves

    for name, targets in (("a", 7), ("b", 7), ("c", 8)):
        lines = [
            {"name": name, "dataset": "shop", "seed": 1},
            *(
                {
                    "name": name,
                    "dataset": "shop",
                    "part": "test",
                    "targets": targets,
                    "seconds": s,
                    "mrr@20": v,
                }
                for s, v in ((2.0, 0.2), (1.0, 0.1))
            ),
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    in_time = [(1.0, 0.1), (2.0, 0.2)]
    assert curves.read(files[:2], "test", "mrr@20") == {"shop": {"a": in_time, "b": in_time}}
    with pytest.raises(SystemExit, match=r"the runs on shop have other targets: \[7, 8\]"):
        curves.read(files, "test", "mrr@20")
