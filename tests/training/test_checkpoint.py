import pytest

import reprise.training.checkpoint as checkpoint_module
from reprise.training.checkpoint import CheckpointTimer


class Clock:
    """A clock that is advanced by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(checkpoint_module.time, "monotonic", lambda: self.now_s)


def waiting_time(timer: CheckpointTimer, clock: Clock) -> float:
    """Advance the clock in steps of half a second until a checkpoint is due, and return how long that was."""
    start_s = clock.now_s
    while not timer.is_due():
        clock.now_s += 0.5
    return clock.now_s - start_s


def test_checkpoints_take_at_most_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing takes 10 s, then 2 s: training continues for 190 s, then for the 60 s of the option."""
    clock = Clock(monkeypatch)
    timer = CheckpointTimer(60.0)
    waited = [waiting_time(timer, clock)]
    for duration_s in (10.0, 2.0):
        with timer.writing():
            clock.now_s += duration_s
        waited.append(waiting_time(timer, clock))
    assert waited == [60.0, 190.0, 60.0]


def test_an_interval_of_0_makes_a_checkpoint_after_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    timer = CheckpointTimer(0.0)
    assert timer.is_due()
    with timer.writing():
        clock.now_s += 10.0
    assert timer.is_due()
