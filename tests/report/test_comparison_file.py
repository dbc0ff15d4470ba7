import json
from pathlib import Path

import pytest

from reprise.errors import ArtefactError
from reprise.report.comparison_file import Comparison, read_comparison, write_comparison


def test_a_study_comes_back_as_it_was(study: Comparison, tmp_path: Path) -> None:
    study["examples"][0]["next"][0]["title"] = "Tasse für Öl"
    write_comparison(study, tmp_path / "report.json")
    assert read_comparison(tmp_path / "report.json") == study
    assert "Öl" in (tmp_path / "report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no report"),
        ("[]", "it does not say its format"),
        ('{"models": []}', "it does not say its format"),
        ('{"format": 2}', "has report format 2, this version reads 1"),
        ('{"format": 1}', r"is damaged \(no command, dataset, .*words\); evaluate again"),
    ],
)
def test_what_is_no_report_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtefactError, match=message):
        read_comparison(tmp_path / "report.json")


def test_a_report_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"there is no .*none\.json; `reprise evaluate RUN --json"):
        read_comparison(tmp_path / "none.json")


def test_all_of_it_is_json(study: Comparison) -> None:
    assert json.loads(json.dumps(study)) == study
