import json
from pathlib import Path

import pytest

from reprise.errors import ArtefactError
from reprise.report.comparison_file import ComparisonRecord, read_comparison, write_comparison


def test_a_written_comparison_is_read_back_unchanged(comparison: ComparisonRecord, tmp_path: Path) -> None:
    comparison["examples"][0]["next"][0]["title"] = "Tasse für Öl"
    write_comparison(comparison, tmp_path / "report.json")
    assert read_comparison(tmp_path / "report.json") == comparison
    assert "Öl" in (tmp_path / "report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a report"),
        ("[]", "it has no field 'format'"),
        ('{"models": []}', "it has no field 'format'"),
        ('{"format": 2}', "has report format 2, this version reads 1"),
        ('{"format": 1}', r"is damaged \(no command, dataset, .*words\); evaluate again"),
    ],
)
def test_file_that_is_not_a_comparison_raises_an_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtefactError, match=message):
        read_comparison(tmp_path / "report.json")


def test_missing_file_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"none\.json does not exist; `reprise evaluate RUN --json"):
        read_comparison(tmp_path / "none.json")


def test_a_comparison_consists_of_json_values(comparison: ComparisonRecord) -> None:
    assert json.loads(json.dumps(comparison)) == comparison
