"""Docs match the code: generated pages are up to date, examples run, links lead somewhere, the language is plain."""

import ast
import importlib
import importlib.util
import inspect
import io
import random
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import reprise
from reprise.cli.reference import page as cli_page

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.glob("*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
)
MODULES = sorted(
    ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for file in (ROOT / "src" / "reprise").rglob("*.py")
    if file.name != "__main__.py"
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


FACADES = [
    "reprise",
    *(f"reprise.{file.parent.name}" for file in (ROOT / "src" / "reprise").glob("*/__init__.pyi")),
]


def script(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    assert text(DOCS / "cli.md") == cli_page(), "run `make docs`"


def test_the_page_of_public_names_is_up_to_date() -> None:
    assert text(DOCS / "api.md") == script("api_page").page().rstrip() + "\n", "run `make docs`"


def test_the_map_of_modules_is_up_to_date() -> None:
    page = text(DOCS / "architecture.md")
    assert page == script("module_map").with_map(page), "run `make docs`"


def test_the_readme_is_short() -> None:
    assert 700 <= len(text(ROOT / "README.md").split()) <= 900


@pytest.mark.parametrize(
    "change",
    ["training/losses/", "server/store/", "server/http/routes.py", "report/plots.py", "cli/commands/"],
)
def test_the_readme_names_the_place_of_common_changes(change: str) -> None:
    assert f"`{change}`" in text(ROOT / "README.md")
    assert (ROOT / "src" / "reprise" / change).exists()


@each_page
def test_lines_of_prose_are_short(page: Path) -> None:
    """Tables and code may be longer."""
    long = [line for line in prose(page).splitlines() if len(line) > 120 and not line.startswith(("|", "!"))]
    assert long == []


OLD_STYLE = re.compile(
    r"\b(?:told|anew|whoever|nobody|somebody|anybody|of late|strangers?|beside|commonest|dearer|shall|whence|askers?|lanes?"
    r"|verbs?|stairs"
    r"|(?:is|are|was|were) asked|what is (?:asked|told|meant)|moment of asking|of its own accord|for good|mends?|mended|stands?"
    r"|(?<!there )(?:is|are|was) no(?! longer| better| more| less| worse))\b",
    flags=re.IGNORECASE,
)
"""Words that marked an older style, which used metaphors and home-made nouns. Each has a plain form."""
ALLOWED = {"CONTRIBUTING.md": ["is no"], "data.md": ["stand"]}
PROSE = [*PAGES, *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "src" / "reprise").rglob("*.html")]
SCRIPTS = [
    file
    for folder in ("src", "tests", "benchmarks", "scripts")
    for file in (ROOT / folder).rglob("*.py")
    if file != Path(__file__)
]


def words_of(file: Path) -> Iterator[str]:
    """The comments, strings and names of functions of a Python file."""
    source = text(file)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield " ".join(token.string.split())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name.replace("_", " ")


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_pages_avoid_the_words_of_the_old_style(page: Path) -> None:
    found = [word for word in OLD_STYLE.findall(prose(page)) if word not in ALLOWED.get(page.name, [])]
    assert found == []


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_code_avoids_the_words_of_the_old_style(file: Path) -> None:
    assert [words for words in words_of(file) if OLD_STYLE.search(words)] == []


def test_the_old_style_is_recognised() -> None:
    assert OLD_STYLE.search("what is asked waits in a lane") and OLD_STYLE.search("The value is no number")
    assert not OLD_STYLE.search(
        "There is no file; the run is no longer needed; the understanding of commands"
    )


@each_page
def test_examples_import_from_packages_only(page: Path) -> None:
    """A module may move; the names of a package stay."""
    deep = re.findall(r"^(?:from|import) (reprise\.\w+\.[\w.]+)", text(page), flags=re.MULTILINE)
    assert deep == []


def test_every_public_name_has_a_heading() -> None:
    headings = re.findall(r"^### (\w+)$", text(DOCS / "api.md"), flags=re.MULTILINE)
    names = {name for package in FACADES for name in importlib.import_module(package).__all__}
    assert sorted(headings) == sorted(names)


@pytest.mark.parametrize("package", FACADES)
def test_every_name_of_a_package_can_be_imported(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__, package
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No reprise attribute Recurent"):
        _ = reprise.Recurent


def test_importing_reprise_loads_nothing_heavy_and_keeps_threads_from_spinning() -> None:
    heavy = "('torch', 'ibis', 'duckdb', 'pyarrow', 'numpy', 'onnxruntime', 'pydantic')"
    code = f"import os, sys, reprise; print([m for m in {heavy} if m in sys.modules], os.environ['OMP_WAIT_POLICY'])"
    environment = {"PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] PASSIVE\n"


def public_things(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Public classes and functions that a module defines, and the public methods of its public classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value
            for inner, member in vars(value).items():
                if not inner.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    yield f"{name}.{inner}", getattr(value, inner)
        elif inspect.isfunction(value):
            yield name, value


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_function_and_method_says_what_it_is(name: str) -> None:
    """An overriding method has the docstring of its contract."""
    things = public_things(importlib.import_module(name))
    assert [place for place, thing in things if not inspect.getdoc(thing)] == []


def test_every_field_of_a_spec_says_what_it_is() -> None:
    page = text(DOCS / "api.md")
    for name in reprise.__all__:
        for field in getattr(getattr(reprise, name), "__pydantic_fields__", {}):
            section = page.split(f"### {name}\n")[1].split("\n### ")[0]
            row = re.search(rf"^\| `{field}` \|.*\| (.*) \|$", section, flags=re.MULTILINE)
            assert row is not None and row[1], f"{name}.{field} has no docstring under it"


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)


@each_page
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: Path) -> None:
    """A bar within a cell would end it."""
    for table in re.findall(r"(?:^\|.*\n)+", prose(page), flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(target), flags=re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name} links to {link}"


def test_every_route_is_on_the_page_about_serving() -> None:
    from reprise.server.http.routes import OPERATIONS

    page = text(DOCS / "serving.md")
    for operation in OPERATIONS:
        path = operation.path.replace("user_id", "id").replace("item_id", "id")
        assert re.search(rf"`(\w+ )?{re.escape(path)}[?`]", page), (
            f"{operation.method} {path} is not described"
        )


def test_every_error_code_is_documented_with_its_status() -> None:
    from reprise.server.http.api_errors import ERROR_CODES

    page = text(DOCS / "serving.md")
    documented = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", page, flags=re.MULTILINE)
    assert {code: int(status) for status, code in documented} == {
        code: error.status for code, error in ERROR_CODES.items()
    }


def test_every_page_is_on_the_list_of_pages() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", text(DOCS / "index.md")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


def test_the_changelog_has_a_section_for_the_version() -> None:
    assert f"## [{reprise.__version__}]" in text(ROOT / "CHANGELOG.md")
    assert "\n### Numbers\n" in text(ROOT / "CHANGELOG.md")


def write_shop(folder: Path) -> None:
    """Five weeks of a small shop: people go up the shelf, from one item to the next, mostly."""
    generator = random.Random(0)
    rows = ["user_id,item_id,timestamp"]
    for user in range(60):
        item, time_s = generator.randrange(100), 1_700_000_000 + generator.randrange(7 * 86_400)
        for _ in range(25):
            rows.append(f"u{user},p{item},{time_s}")
            item = (item + 1) % 100 if generator.random() < 0.9 else generator.randrange(100)
            time_s += generator.randrange(2 * 86_400)
    items = ["item_id,title", *(f"p{item},Item {item}" for item in range(100))]
    (folder / "clicks.csv").write_text("\n".join(rows) + "\n")
    (folder / "items.csv").write_text("\n".join(items) + "\n")


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shop(tmp_path)
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```", text(ROOT / "README.md"), flags=re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    small = snippet.replace(".parquet", ".csv").replace("layers=2, size=128", "layers=1, size=32")
    assert small != snippet
    exec(compile(small, "README.md", "exec"), names)
    assert "Popularity" in capsys.readouterr().out
    assert len(names["visit"].recommend(k=10)) == 10
    assert [row.item_id for row in names["shop"].recommend(["p17", "p3"], k=10, deny=["p99"])] == [
        row.item_id for row in names["visit"].recommend(k=10, deny=["p99"])
    ]
