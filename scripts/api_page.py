"""Write docs/api.md: every public name with its signature, docstring and fields, from the source.

python scripts/api_page.py
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
PACKAGES = (
    "reprise", "reprise.data", "reprise.datasets", "reprise.content", "reprise.forecast", "reprise.nn", "reprise.models",
    "reprise.training", "reprise.evaluation", "reprise.recommender", "reprise.report", "reprise.server",
    "reprise.spark", "reprise.privacy", "reprise.model_store", "reprise.retraining", "reprise.feedback",
    "reprise.mcp_server", "reprise.testing",
)  # fmt: skip
HEAD = """# Public names

Made by `python scripts/api_page.py` from the docstrings. `import reprise as rp` and use `rp.NAME`, or import from the
package under whose heading a name is. Each name is imported on first use, so `import reprise` is fast. A spec is a
frozen dataclass that can be written in Python or in a recipe; a table lists its fields.
"""
Definition = ast.ClassDef | ast.FunctionDef


def public_names(package: str = "reprise") -> dict[str, str]:
    """Return the public names of a package and the modules that define them, from its stub."""
    stub = SOURCE.joinpath(*package.split("."), "__init__.pyi")
    homes = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            module = f"{package}.{node.module}" if node.module else package
            inner = public_names(module) if node.module and _is_facade(module) else {}
            homes |= {name.name: inner.get(name.name, module) for name in node.names}
    return dict(sorted(homes.items(), key=lambda item: item[1]))


def _is_facade(module: str) -> bool:
    return SOURCE.joinpath(*module.split("."), "__init__.pyi").exists()


def page() -> str:
    """Return the whole page."""
    documented: set[str] = set()
    parts = []
    for package in PACKAGES:
        names = {
            name: module for name, module in sorted(public_names(package).items()) if name not in documented
        }
        documented |= set(names)
        parts += [
            f"## {package}\n",
            *(part for name, module in names.items() for part in _section(name, module)),
        ]
    return "\n".join([HEAD, "## Specs\n", *_specs(), *parts])


def _parse(module: str) -> ast.Module:
    path = SOURCE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _definition(name: str, module: str) -> Definition:
    for node in _parse(module).body:
        if isinstance(node, Definition) and node.name == name:
            return node
    raise SystemExit(f"{module} defines no {name}")


def _is_spec(node: ast.AST) -> bool:
    marks = [ast.unparse(mark) for mark in node.decorator_list] if isinstance(node, ast.ClassDef) else []
    return any(mark == "spec" or mark.startswith("spec(") for mark in marks)


def _specs() -> Iterator[str]:
    names = {name: module for package in PACKAGES for name, module in public_names(package).items()}
    for name, module in names.items():
        if any(_is_spec(node) and getattr(node, "name", "") == name for node in _parse(module).body):
            yield f"- [`{name}`](#{name.lower()})"
    yield ""


def _section(name: str, module: str) -> Iterator[str]:
    yield f"### {name}\n"
    body = _parse(module).body
    if not any(isinstance(node, Definition) and node.name == name for node in body):
        yield _value(name, module)
        return
    node = _definition(name, module)
    if isinstance(node, ast.FunctionDef):
        yield f"```python\n{_signature(node, name)}\n```\n"
    yield _prose(node)
    if isinstance(node, ast.ClassDef):
        rows = _fields(node)
        for base in _bases(node, module):
            # a redefined field replaces the inherited one
            rows = {**rows, **{name: row for name, row in _fields(base).items() if name not in rows}}
        yield from _table(list(rows.values()))
        yield from _methods(node)


def _value(name: str, module: str) -> str:
    """Return the definition and the docstring of a constant, a type or a module."""
    path = SOURCE.joinpath(*module.split("."), f"{name}.py")
    if path.exists():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        return _wrapped(f"The module `{module}.{name}`. {' '.join(docstring.split())}") + "\n"
    body = _parse(module).body
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if name in map(ast.unparse, targets):
            text = (
                ast.literal_eval(after.value)
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                else ""
            )
            return f"```python\n{ast.unparse(node)}\n```\n\n{_wrapped(' '.join(str(text).split()))}\n"
    raise SystemExit(f"{module} defines no {name}")


def _bases(node: ast.ClassDef, module: str) -> Iterator[ast.ClassDef]:
    """Yield the specs from which a spec inherits fields."""
    homes = {
        name.name: found.module
        for found in _parse(module).body
        if isinstance(found, ast.ImportFrom) and (found.module or "").startswith("reprise.")
        for name in found.names
    }
    for base in map(ast.unparse, node.bases):
        if homes.get(base):
            definition = _definition(base, str(homes[base]))
            if isinstance(definition, ast.ClassDef) and _is_spec(definition):
                yield definition


def _fields(node: ast.ClassDef) -> dict[str, str]:
    """Return the rows of a table, by the name of the field."""
    rows = {}
    for field, after in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign) and not ast.unparse(field.target).startswith("_"):
            text = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
            default = f"`{ast.unparse(field.value)}`" if field.value else ""
            meaning = " ".join(text.split()).replace("|", "\\|")
            name = ast.unparse(field.target)
            rows[name] = f"| `{name}` | {_type(field.annotation)} | {default} | {meaning} |"
    return rows


def _table(rows: list[str]) -> Iterator[str]:
    if rows:
        yield "| field | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and (method.name == "__init__" or method.name[0] != "_"):
            name = node.name if method.name == "__init__" else f"{node.name}.{method.name}"
            marks = [ast.unparse(mark) for mark in method.decorator_list]
            shown = name if {"property", "cached_property"} & set(marks) else _signature(method, name)
            if ast.get_docstring(method) or method.name == "__init__":
                yield f"```python\n{shown}\n```\n"
                yield _prose(method)


def _signature(node: ast.FunctionDef, name: str) -> str:
    arguments = [text for text in _arguments(node.args) if text.split(":")[0] not in ("self", "cls")]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= 100:
        return line
    return f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returns}"


def _arguments(given: ast.arguments) -> Iterator[str]:
    positional = given.posonlyargs + given.args
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    for argument, default in zip(positional, defaults, strict=True):
        yield _argument(argument, default)
    if given.vararg:
        yield f"*{_argument(given.vararg, None)}"
    elif given.kwonlyargs:
        yield "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _argument(argument, default)
    if given.kwarg:
        yield f"**{_argument(given.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _type(annotation: ast.expr) -> str:
    """Return a type as text, with the limits of `Annotated[int, Field(ge=1)]` in words."""
    if isinstance(annotation, ast.BinOp) and ast.unparse(annotation.right) == "None":
        return f"{_type(annotation.left)}, or none"
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        assert isinstance(annotation.slice, ast.Tuple)
        kind, *marks = annotation.slice.elts
        limits = [limit for mark in marks if isinstance(mark, ast.Call) for limit in mark.keywords]
        words = ", ".join(f"{LIMITS[limit.arg or '']} {ast.unparse(limit.value)}" for limit in limits)
        return f"`{ast.unparse(kind)}`, {words}"
    return "`" + ast.unparse(annotation).replace("|", "\\|") + "`"


def _prose(node: Definition) -> str:
    """Return a docstring as Markdown, with its sections in bold and its entries as a list."""
    lines: list[str] = []
    for line in (ast.get_docstring(node) or "").splitlines():
        entry = re.match(r"    ([\w*]+): (.*)", line)
        if re.fullmatch(r"(Args|Raises|Returns|Yields):", line):
            lines += [f"**{line}**", ""]
        elif entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif line.strip() and lines and lines[-1] and not lines[-1].startswith("**"):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    return "\n".join(_wrapped(line) for line in lines) + "\n"


def _wrapped(line: str) -> str:
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(page().rstrip() + "\n", encoding="utf-8")
