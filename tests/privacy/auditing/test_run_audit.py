"""The audit of a run: what it finds, what it stores, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from audited_log import SMALL, write_log

from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.data.split import LeaveOneOut
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.privacy import AuditSettings, audit
from reprise.privacy.auditing.audit_report import read_report
from reprise.training.run_directory import RunDirectory
from reprise.training.start_run import train


@pytest.fixture(scope="session")
def reference(run: Path) -> Path:
    """Return a run that was trained on users of its own, and on ten of the others."""
    log = write_log(run.parent / "reference.csv", 150, seed=5, first=1000)
    others = (run.parent / "others.csv").read_text().splitlines()
    log.write_text(log.read_text() + "\n".join(others[-140:]) + "\n")
    train(
        replace(SMALL, model=replace(SMALL.model, cooccurrence=0)),
        prepare(read_events(log), run.parent / "reference-data", split=LeaveOneOut()),
        run.parent / "reference-run",
        progress=False,
    )
    return run.parent / "reference-run"


def test_a_calibrated_audit_finds_members_and_stores_its_report(run: Path, reference: Path) -> None:
    report = audit(run, run.parent / "others.csv", references=[reference], progress=False)
    found = {attack.name: attack for attack in report.attacks}
    assert found["loss/counts"].auc.value >= 0.7
    assert found["difference/counts"].auc.value >= 0.7
    assert found["calibrated/network"].auc.value >= 0.65
    assert report.references == {
        "runs": [str(reference)], "users": [160], "for_each_user": 1, "left_out": [0, 10]
    }  # fmt: skip
    assert report.protocol["members"] == 150
    assert report.protocol["others"] == 220  # without ten members and ten users of the reference
    assert report.highest.tpr_at(0.01).value == max(attack.tpr_at(0.01).value for attack in report.attacks)
    assert read_report(RunDirectory(run)) == json.loads(json.dumps(report.to_dict()))
    assert str(report).startswith("gru 1 x 32 bare: 150 members and 220 others")


def test_an_audit_is_the_same_for_the_same_seed_and_takes_samples(run: Path) -> None:
    settings = AuditSettings(users=120, targets=5)
    first, again = (
        audit(run, run.parent / "others.csv", settings=settings, progress=False) for _ in range(2)
    )
    assert first.to_dict() == again.to_dict()
    assert (first.protocol["members"], first.protocol["others"]) == (120, 120)
    other = audit(run, run.parent / "others.csv", settings=replace(settings, seed=2), progress=False)
    assert other.attacks != first.attacks


def test_a_report_about_other_weights_is_refused(run: Path) -> None:
    audit(run, run.parent / "others.csv", progress=False)
    report = json.loads((run / "audit.json").read_text())
    (run / "audit.json").write_text(json.dumps(report | {"weights": "0"}))
    with pytest.raises(ArtefactError, match="about other weights than those of"):
        read_report(RunDirectory(run))
    (run / "audit.json").write_text(json.dumps(report | {"format": 2}))
    with pytest.raises(ArtefactError, match="is not an audit of format 1"):
        read_report(RunDirectory(run))
    (run / "audit.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"audit\.json is damaged"):
        read_report(RunDirectory(run))
    (run / "audit.json").unlink()
    assert read_report(RunDirectory(run)) is None


def test_a_reference_on_the_same_dataset_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="was trained on the dataset of the audited run"):
        audit(run, run.parent / "others.csv", references=run, progress=False)


def test_a_reference_that_has_learned_from_all_others_is_refused(run: Path, reference: Path) -> None:
    with pytest.raises(DataError, match="trained on all users of the audited run, or on all others"):
        audit(run, run.parent / "reference.csv", references=[reference], progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"references": 3}, "references must be an even number, got 3"),
        ({"references": -2}, "references must be at least 0"),
        ({"canaries": 3}, "canaries must be 0 or at least 8, got 3"),
        ({"settings": 5}, r"write AuditSettings\(\.\.\.\)"),
    ],
)
def test_impossible_arguments_are_refused(run: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        audit(run, run.parent / "others.csv", progress=False, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("users", 0, "users must be at least 1"),
        ("delta", 1.5, "delta must be at least 0 and below 1, got 1.5"),
    ],
)
def test_impossible_settings_are_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AuditSettings(**{field: value})  # type: ignore[arg-type]
