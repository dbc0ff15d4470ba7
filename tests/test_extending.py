"""The page that tells how to add a cell or a loss is executed, block by block, as its reader would."""

import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that opens with `# name.py` is that file; every other block is typed into one session."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    files, session = 0, {"__name__": "__main__"}
    for block in blocks:
        named = re.match(r"# (\w+\.py)\n", block)
        if named:
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
            files += 1
        else:
            exec(compile(block, str(PAGE), "exec"), session)
    assert files == 3
    assert len(blocks) == 8
    for module in ("my_models", "my_losses", "my_metrics"):
        assert sys.modules.pop(module)
