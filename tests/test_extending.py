"""The examples of docs/extending.md are executed, block by block, as a reader would type them."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that begins with `# name.py` is a file of that name; the other blocks share one session."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    files: list[str] = []
    session: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        named = re.match(r"# (\w+)\.py\n", block)
        if named:
            (tmp_path / f"{named[1]}.py").write_text(block, encoding="utf-8")
            files.append(named[1])
        else:
            exec(compile(block, str(PAGE), "exec"), session)
    assert {"my_models", "my_losses"} <= set(files)
    # every file is used by a later block
    for module in files:
        assert sys.modules.pop(module)
