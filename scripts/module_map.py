"""Write the map of modules into docs/architecture.md: every module with the first sentence of its docstring.

python scripts/module_map.py
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "reprise"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- modules -->", "<!-- end of modules -->"


def purpose(file: Path) -> str:
    """Return the first sentence of a module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`])\. ", first)[0].rstrip(".")


def sections() -> Iterator[str]:
    """Yield a heading, the purpose and a table of modules for each folder."""
    folders = sorted({file.parent for file in SOURCE.rglob("*.py")})
    for folder in folders:
        name = folder.relative_to(SOURCE.parent).as_posix()
        modules = sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")
        yield f"### {name}\n\n{purpose(folder / '__init__.py')}.\n"
        if modules:
            yield "| module | purpose |\n|---|---|"
            yield "\n".join(f"| `{file.name}` | {purpose(file)} |" for file in modules) + "\n"


def with_map(page: str) -> str:
    """Return the page with the map put in."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n" + "\n".join(sections()) + f"\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
