"""Progress is told to whoever wants to know, and to nobody else."""

from pathlib import Path

from reprise.data.preparing.prepare import prepare

SPLIT = "last:2d,2d"


def test_a_function_is_told_every_step_and_its_share(write_log, days, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    prepare(
        write_log(days),
        tmp_path / "out",
        split=SPLIT,
        progress=lambda step, share: told.append((step, share)),
    )
    steps = ["reading", "coding", "cleaning", "writing", "looking for leaks", "prepared"]
    assert [step for step, _ in told] == steps
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_it_is_silent_away_from_a_terminal(write_log, days, tmp_path: Path, capfd) -> None:
    prepare(write_log(days), tmp_path / "out", split=SPLIT)
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_drawn_when_asked_for(write_log, days, tmp_path: Path, capfd) -> None:
    prepare(write_log(days), tmp_path / "out", split=SPLIT, progress=True)
    shown = capfd.readouterr()
    assert "prepared" in shown.err
    assert shown.out == ""
