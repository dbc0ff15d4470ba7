"""The tutorials run as a reader would type them: an engineer of a shop, and a researcher with a table to fill."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "run_tutorial.py"
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def run(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(page), "--folder", str(folder)],
        capture_output=True,
        text=True,
        timeout=1_200,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    done = run(page, tmp_path)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    expected = {"shop": "reprise_model_store_served 2.0", "research": "significant at a level"}
    assert expected[page.stem] in done.stdout


@pytest.mark.parametrize("block", ["```bash\nfalse\n```", "```python\nassert False\n```"])
def test_a_block_that_fails_is_reported(block: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{block}\n\n```bash\ntouch later\n```\n")
    done = run(page, tmp_path)
    assert done.returncode != 0
    assert "failed with exit status 1" in done.stderr
    assert not (tmp_path / "later").exists()
