"""The rules of the architecture, read from the source: layers, cycles, homes of libraries, sizes and names."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "reprise"
FILES = sorted(SOURCE.rglob("*.py"))
FOLDERS = sorted({file.parent for file in FILES})
LAYER = {
    "errors": 0, "arrays": 0, "argument_checks": 0, "atomic_files": 0, "class_names": 0, "validation_messages": 0,
    "config": 0, "directory_lock": 0, "frame_output": 0, "notebook_html": 0, "keyed_hash": 0,
    "lazy_names": 0, "path_kinds": 0, "progress": 0,
    "data": 1, "content": 2, "datasets": 2, "forecast": 2, "nn": 3, "models": 4, "evaluation": 5, "recommender": 5,
    "training": 6, "model_store": 6, "report": 7, "testing": 7, "server": 7, "spark": 7, "privacy": 7,
    "retraining": 7, "feedback": 8, "mcp_server": 8, "cli": 9, "__init__": 9, "__main__": 9,
}  # fmt: skip
INDEPENDENT = {
    "nn": {"data", "content", "forecast"}, "content": {"forecast"}, "datasets": {"content", "forecast"},
    "forecast": {"data", "content"},
    "evaluation": {"recommender"}, "recommender": {"evaluation"}, "training": {"recommender", "model_store"},
    "model_store": {"training", "evaluation", "models", "nn", "data"},
    "report": {"recommender", "testing", "server", "spark", "privacy"}, "server": {"report", "testing", "spark", "privacy"},
    "testing": {"report", "spark", "privacy"}, "privacy": {"report", "testing", "server", "spark"},
    "feedback": {"report", "testing", "spark", "privacy", "training"},
    "spark": {"report", "testing", "server", "training", "models", "nn", "evaluation", "privacy"},
}  # fmt: skip
"""Packages that do not import each other although the layers would allow it."""
EXPORT = "recommender/artefact/onnx_export.py"
TABLES = (
    "data/",
    "datasets/",
    "content/",
    "testing/worlds.py",
    "recommender/items/",
    "spark/",
    "privacy/",
    "retraining/",
)
HOMES = {
    "torch": ("nn/", "models/", "training/", "evaluation/", "report/", "testing/", "privacy/", "retraining/", EXPORT),
    "triton": ("nn/triton_scan.py",), "lightning_fabric": ("training/",),
    "ibis": ("data/",), "duckdb": ("data/",), "pyarrow": TABLES,
    "pyspark": ("data/io/spark", "spark/"), "py4j": ("data/io/spark",),
    "onnx": ("recommender/artefact/",), "onnxscript": (EXPORT,),
    "dp_accounting": ("training/private/accounting.py",), "tenseal": ("privacy/encrypted/",),
    "cryptography": ("recommender/artefact/signature.py",),
    "faiss": ("recommender/search/inverted_file.py",),
    "onnxruntime": ("recommender/runtime/", "recommender/search/", "content/encoders/", "privacy/device/"),
    "scipy": ("content/", "forecast/", "models/", "evaluation/stats/", "privacy/auditing/", "feedback/", "retraining/"),
    "sklearn": ("content/",),
    "optuna": ("training/tuning/optuna_study.py",), "mlflow": ("training/tracking/loggers.py",),
    "wandb": ("training/tracking/loggers.py",),
    "jinja2": ("report/render.py",), "markupsafe": ("report/",),
    "sqlite3": ("server/store/sqlite",), "psycopg": ("server/store/postgres", "server/store/tables/postgres"),
    "psycopg_pool": ("server/store/postgres",),
    "starlette": ("server/http/", "privacy/encrypted/"),
    "uvicorn": ("server/connections/", "privacy/encrypted/"), "httptools": ("server/connections/",),
    "mcp": ("mcp_server/",), "prometheus_client": ("server/prometheus_metrics.py", "feedback/drift_output.py"),
    "filelock": ("directory_lock.py",), "lazy_loader": ("lazy_names.py",), "typer": ("cli/",), "rich": ("cli/", "progress.py"),
}  # fmt: skip
"""The only places that import a third-party library, so that it can be replaced in one place."""
RUNS_CODE_WHEN_READ = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
VAGUE_NAMES = {"utils", "util", "helpers", "common", "misc", "base", "core"}
MODULES, LINES, PARAMETERS, FUNCTION_LINES, CLASS_DEPTH = 15, 400, 8, 60, 3


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def package_of(file: Path) -> str:
    return name_of(file).split("/")[0].removesuffix(".py")


def module_of(file: Path) -> str:
    return ".".join(("reprise", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


FILE_OF = {module_of(file): file for file in FILES}


def nodes(file: Path, *, types: bool = True) -> Iterator[ast.AST]:
    """All nodes of a file; without `types`, not those that only a type checker reads."""
    waiting: list[ast.AST] = [tree(file)]
    while waiting:
        node = waiting.pop()
        yield node
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        waiting.extend(node.orelse if only_types and not types else ast.iter_child_nodes(node))  # type: ignore[attr-defined]


def imports(file: Path, *, types: bool = True) -> set[str]:
    """The modules and names that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in nodes(file, types=types):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno}: write the import in full"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def imported_files(file: Path) -> set[Path]:
    """The files of the package that a file imports from."""
    found = set()
    for name in imports(file):
        module = name if name in FILE_OF else name.rpartition(".")[0]
        if module in FILE_OF:
            found.add(FILE_OF[module])
    return found - {file}


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(file) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def classes(file: Path) -> Iterator[ast.ClassDef]:
    return (node for node in nodes(file) if isinstance(node, ast.ClassDef))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other (Tarjan 1972), without single nodes."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            place = stack.index(node)
            if len(stack) - place > 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return found


each_file = pytest.mark.parametrize("file", FILES, ids=name_of)
each_folder = pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: folder.relative_to(SOURCE.parent).as_posix()
)


@each_file
def test_a_package_imports_only_from_lower_layers(file: Path) -> None:
    mine = package_of(file)
    for name in imports(file):
        package, _, rest = name.partition(".")
        theirs = rest.split(".")[0] if rest else "__init__"
        if package != "reprise" or theirs == mine or mine in ("__init__", "__main__"):
            continue
        # `import reprise` may load any package, so only the highest layer may use it
        assert LAYER.get(theirs, LAYER["cli"]) <= LAYER[mine], (
            f"{name_of(file)} imports {name}, a higher layer"
        )
        assert theirs not in INDEPENDENT.get(mine, set()), (
            f"{name_of(file)} imports {name}; {mine} and {theirs} are independent"
        )


def test_modules_form_no_cycle() -> None:
    """Imports inside functions and under TYPE_CHECKING count too."""
    assert (
        cycles({module_of(file): {module_of(other) for other in imported_files(file)} for file in FILES})
        == []
    )


@each_folder
def test_modules_and_subfolders_of_a_folder_form_no_cycle(folder: Path) -> None:
    def child(file: Path) -> str:
        return file.relative_to(folder).parts[0].removesuffix(".py")

    edges: dict[str, set[str]] = defaultdict(set)
    for file in folder.rglob("*.py"):
        inside = {other for other in imported_files(file) if other.is_relative_to(folder)}
        edges[child(file)] |= {child(other) for other in inside} - {child(file)}
    assert cycles(edges) == []


@each_folder
def test_a_folder_holds_few_modules(folder: Path) -> None:
    modules = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert len(modules) <= MODULES, f"{folder.name} has {len(modules)} modules: divide it by subject"


@each_file
def test_a_library_has_one_home(file: Path) -> None:
    for name in imports(file, types=False):
        library = name.partition(".")[0]
        homes = HOMES.get(library)
        assert homes is None or name_of(file).startswith(homes), (
            f"{name_of(file)} imports {library}, which only {homes} may import"
        )
        assert library not in RUNS_CODE_WHEN_READ, (
            f"{name_of(file)} imports {library}: reading a file must not run code"
        )


def test_only_the_export_of_a_model_imports_networks_in_the_recommender() -> None:
    for file in (SOURCE / "recommender").rglob("*.py"):
        networks = {
            name for name in imports(file, types=False) if name.startswith(("reprise.models", "reprise.nn"))
        }
        assert name_of(file) == EXPORT or not networks, (
            f"{name_of(file)} imports {networks}, and with it torch"
        )


@each_file
def test_a_module_is_short_documented_and_named_for_its_subject(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES, f"{name_of(file)} is too long: divide it by subject"
    assert ast.get_docstring(tree(file)), f"{name_of(file)} has no docstring"
    vague = VAGUE_NAMES & set(name_of(file).removesuffix(".py").split("/"))
    assert not vague, f"{name_of(file)}: {vague} does not name a subject"


def test_no_two_modules_share_a_name() -> None:
    """A command has the name of its function, such as `prepare`."""
    names = Counter(
        file.stem for file in FILES if file.stem != "__init__" and file.parent != SOURCE / "cli" / "commands"
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_classes_share_a_name() -> None:
    names = Counter(node.name for file in FILES for node in classes(file))
    assert [name for name, count in names.items() if count > 1] == []


@each_file
def test_functions_are_short_and_have_few_parameters(file: Path) -> None:
    for function in functions(file):
        where = f"{name_of(file)}:{function.lineno} {function.name}"
        assert body_lines(function) <= FUNCTION_LINES, f"{where} has {body_lines(function)} lines"
        # the parameters of a command are its options
        assert package_of(file) == "cli" or parameters(function) <= PARAMETERS, (
            f"{where} has {parameters(function)} parameters"
        )


def test_classes_are_shallow() -> None:
    parents = {
        node.name: [ast.unparse(parent).split("[")[0].split(".")[-1] for parent in node.bases]
        for file in FILES
        for node in classes(file)
    }

    def depth(name: str) -> int:
        return 1 + max((depth(parent) for parent in parents[name] if parent in parents), default=0)

    assert {name: depth(name) for name in parents if depth(name) > CLASS_DEPTH} == {}


def written_files() -> Iterator[Path]:
    folders = [ROOT / name for name in ("src", "tests", "docs", "recipes", "benchmarks", "scripts", ".ci")]
    readable = {".py", ".pyi", ".md", ".toml", ".sql", ".txt", ".json", ".jsonl", ".csv", ""}
    for file in (*ROOT.iterdir(), *(file for folder in folders for file in folder.rglob("*"))):
        hidden = any(part.endswith(".egg-info") or part == "__pycache__" for part in file.parts)
        if file.is_file() and file.suffix in readable and not hidden and file.name != ".git":
            yield file


def test_no_file_names_a_path_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.:/])/(?:root|home|work|Users)/")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in written_files()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if absolute.search(line)
    ]
    assert found == []


def test_cycles_are_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}}) == []
