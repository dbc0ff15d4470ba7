"""Worker processes do jobs, answer messages, and are replaced after their death."""

import os

import pytest
import torch
from worker_jobs import doubled

from reprise.errors import ConfigError
from reprise.testing import worlds
from reprise.training.parallel.worker_pool import WorkerPool, check_workers, threads_per_worker


def test_jobs_report_messages_and_results() -> None:
    """One process does both jobs; two messages that arrive together are both reported."""
    with WorkerPool(doubled, 1, threads=1) as pool:
        assert pool.is_free and pool.running == []
        pool.start(0, "first", {"number": 4, "ask": True})
        assert not pool.is_free and pool.running == [0]
        steps = [pool.next_report() for _ in range(2)]
        assert [step and (step.number, step.message, step.is_result) for step in steps] == [
            (0, {"step": 1}, False),
            (0, {"step": 2}, False),
        ]
        assert pool.next_report(0.01) is None  # the job waits for an answer
        pool.send(0, {"more": 100})
        first = pool.next_report()
        assert first is not None and first.is_result
        assert (first.message["value"], first.message["threads"]) == (108, 1)
        pool.start(1, "second", {"number": 5})
        reports = [pool.next_report() for _ in range(3)]
        second = reports[-1]
        assert second is not None and second.message["value"] == 10
        assert second.message["process"] == first.message["process"] != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(first.message["process"], 0)


def test_a_killed_worker_is_reported_and_replaced() -> None:
    with WorkerPool(doubled, 1, threads=1) as pool:
        pool.start(7, "seventh", {"kill": True})
        report = pool.next_report()
        assert report is not None
        assert (report.number, report.message, report.is_result) == (7, {}, False)
        assert report.death == "was killed by signal 9"
        assert pool.is_free
        pool.start(8, "eighth", {"number": 1})
        reports = [pool.next_report() for _ in range(3)]
        assert [report and (report.number, report.message.get("value")) for report in reports] == [
            (8, None),
            (8, None),
            (8, 2),
        ]


def test_an_unexpected_exception_of_a_job_is_raised() -> None:
    with (
        pytest.raises(
            RuntimeError, match=r"(?s)job 3 failed with a programming error:.*ZeroDivisionError: a fault"
        ),
        WorkerPool(doubled, 1, threads=1) as pool,
    ):
        pool.start(3, "job 3", {"fail": True})
        pool.next_report()


def test_workers_need_a_dataset_on_disk() -> None:
    check_workers(1, worlds.cycle())
    with pytest.raises(ConfigError, match="cannot read a dataset in memory; prepare it into a directory"):
        check_workers(2, worlds.cycle())


def test_workers_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert [threads_per_worker(0, workers) for workers in (1, 2, 3, 8)] == [0, 3, 2, 1]
    assert [threads_per_worker(5, workers) for workers in (1, 3)] == [5, 5]
