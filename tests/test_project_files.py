"""Files that other programs read: the citation, the forms for issues and the workflows are valid."""

import re
import tomllib
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent
SCHEMAS = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = sorted(
    path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"
)
CHECKED = [
    ("citation-file-format", ROOT / "CITATION.cff"),
    ("github-issue-config", ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"),
    *(("github-issue-forms", form) for form in FORMS),
    *(("github-workflows", workflow) for workflow in sorted((ROOT / ".github" / "workflows").glob("*.yml"))),
]


def validator(schema: str) -> Any:
    """Return the validator of a schema that ships with check-jsonschema."""
    (path,) = SCHEMAS.glob(f"{schema}.json")
    text = path.read_text(encoding="utf-8")
    return jsonschema.validators.validator_for(yaml.safe_load(text))(yaml.safe_load(text))


@pytest.mark.parametrize(("schema", "file"), CHECKED, ids=lambda value: getattr(value, "name", value))
def test_the_file_follows_its_schema(schema: str, file: Path) -> None:
    checked = validator(schema)
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert [error.message for error in checked.iter_errors(content)] == []
    assert list(checked.iter_errors({"unknown": 1})), "the schema accepts anything"


def test_the_citation_names_the_released_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"version = {{{PROJECT['version']}}}" in (ROOT / "README.md").read_text()


def test_the_workflow_tests_every_supported_python_and_runs_existing_targets() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    pythons = jobs["versions"]["strategy"]["matrix"]["python"]
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert pythons == [f"3.{minor}" for minor in range(int(oldest.split(".")[1]), 15)]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {target for command in commands for target in re.findall(r"make ([a-z]+)", command)}
    assert called and called <= targets
    assert "bash .ci/run" in commands and (ROOT / ".ci" / "run").is_file()


def test_readers_are_led_to_the_rules_for_security_and_conduct() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    for page in ("SECURITY.md", "CODE_OF_CONDUCT.md"):
        assert (ROOT / page).is_file()
        assert f"]({page})" in contributing
