"""Write the map of the source into README.md: every file with the first sentence of its docstring.

python scripts/file_map.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "reprise"
BEGIN, END = "<!-- tree -->", "<!-- end of tree -->"
WIDTH = 26


def purpose(file: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`])\. ", first)[0].rstrip(".")


def lines() -> list[str]:
    """The map: files of the package first, then folder by folder."""
    files = sorted(SOURCE.rglob("*.py"), key=lambda file: (file.parent != SOURCE, file.parent, file.name))
    drawn = ["src/reprise/"]
    for file in files:
        depth = len(file.relative_to(SOURCE).parts)
        if file.name == "__init__.py" and depth > 1:
            drawn.append(f"{'  ' * (depth - 1)}{file.parent.name}/".ljust(WIDTH) + purpose(file))
        else:
            drawn.append(f"{'  ' * depth}{file.name}".ljust(WIDTH) + purpose(file))
    return drawn


def with_map(readme: str) -> str:
    """The README with the map put in."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n```\n" + "\n".join(lines()) + f"\n```\n{END}{after}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_map(path.read_text(encoding="utf-8")), encoding="utf-8")
