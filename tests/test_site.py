"""The documentation site: it builds without a warning, and a broken link fails the build."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build_site(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build the site without running the notebooks, which `make site` does."""
    command = [
        sys.executable,
        str(ROOT / "scripts" / "build_site.py"),
        "--no-notebooks",
        "--out",
        str(out),
        *options,
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")}
    return subprocess.run(command, capture_output=True, text=True, env=clean)


def test_the_site_has_every_page_a_search_and_a_list_of_versions(tmp_path: Path) -> None:
    site = tmp_path / "site"
    older = site / "0.0.1" / "docs"
    older.mkdir(parents=True)
    (older / "index.html").write_text("the site of an older version")
    built = build_site(site, "--address", "https://docs.example")
    assert built.returncode == 0, built.stderr
    (version,) = (start.parent.parent for start in site.glob("*/docs/index.html") if start.parent != older)
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "notebooks").glob("*.ipynb")]
    for page in pages:
        html = version / page.relative_to(ROOT).with_suffix(".html")
        assert html.is_file(), f"{page.name} has no page"
    assert (version / "search.html").is_file()
    listed = json.loads((site / "versions.json").read_text())
    assert [entry["version"] for entry in listed] == [version.name, "0.0.1"]
    assert [entry["preferred"] for entry in listed] == [True, False]
    assert f"{version.name}/docs/index.html" in (site / "index.html").read_text()
    assert (older / "index.html").read_text() == "the site of an older version"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a page](absent.md)", "absent.md"),
        ("[a heading](#absent)", "absent"),
        ("```{include} absent.md\n```", "absent.md"),
    ],
)
def test_a_broken_link_fails_the_build(text: str, fault: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "page.md").write_text(f"# A page\n\n{text}\n")
    (source / "toc.yml").write_text("root: page\n")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        "dummy",
        "-q",
        "--fail-on-warning",
        "-c",
        str(ROOT / "docs" / "site"),
    ]
    settings = ["-D", "include_patterns=page.md", "-D", f"external_toc_path={source / 'toc.yml'}"]
    built = subprocess.run(
        [*command, *settings, str(source), str(tmp_path / "out")], capture_output=True, text=True
    )
    assert built.returncode != 0
    assert fault in built.stderr
