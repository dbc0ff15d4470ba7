"""The rules of the house, read from the source itself: floors, homes of libraries, sizes, names."""

import ast
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "reprise"
FILES = sorted(SOURCE.rglob("*.py"))
FLOOR = {
    "errors": 0, "class_names": 0, "validation_messages": 0, "config": 0, "arrays": 0, "progress": 0,
    "data": 1, "nn": 2, "models": 3, "evaluation": 4, "recommender": 4,
    "training": 5, "report": 6, "testing": 6, "server": 6, "privacy": 6, "spark": 6, "cli": 7, "__init__": 7, "__main__": 7,
}  # fmt: skip
STRANGERS = {
    "evaluation": {"recommender"}, "recommender": {"evaluation"}, "training": {"recommender"}, "nn": {"data"},
    "report": {"recommender", "testing"},
}  # fmt: skip
NETWORKS = (
    "nn/",
    "models/",
    "training/",
    "evaluation/",
    "report/",
    "privacy/",
    "testing/",
    "recommender/artefact/onnx_export.py",
)
TABLES = ("data/", "spark.py", "testing/worlds.py")
HOMES = {
    "torch": NETWORKS, "lightning_fabric": ("training/",), "ibis": TABLES, "pyarrow": TABLES, "duckdb": TABLES,
    "onnx": ("recommender/artefact/int8_graph.py",), "onnxscript": ("recommender/artefact/onnx_export.py",),
    "typer": ("cli/",),
    "onnxruntime": ("recommender/runtime/onnx_session.py", "recommender/search/int8_matmul.py"), "scipy": ("models/",),
    "optuna": ("training/tuning/optuna_study.py",),
    "mlflow": ("training/loggers.py",), "wandb": ("training/loggers.py",), "jinja2": ("report/render.py",),
    "markupsafe": ("report/",), "sqlite3": ("server/store/sqlite",), "psycopg": ("server/store/postgres",),
    "psycopg_pool": ("server/store/postgres",), "starlette": ("server/http/app.py", "server/http/handlers.py"),
    "uvicorn": ("server/process.py",), "prometheus_client": ("server/prometheus_metrics.py",),
    "faiss": ("recommender/search/exact_index.py",),
}  # fmt: skip
RUNS_CODE_WHEN_READ = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
VAGUE_NAMES = {"utils", "util", "helpers", "common", "misc", "base", "core"}
LINES, PARAMETERS, FUNCTION_LINES, MEDIAN_LINES, DEPTH = 400, 8, 60, 10, 3


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def place(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def room(file: Path) -> str:
    return place(file).split("/")[0].removesuffix(".py")


def nodes(file: Path, *, types: bool = True) -> Iterator[ast.AST]:
    """All nodes of a file; without `types`, not those that only a type checker reads."""
    waiting: list[ast.AST] = [tree(file)]
    while waiting:
        node = waiting.pop()
        yield node
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        waiting.extend(node.orelse if only_types and not types else ast.iter_child_nodes(node))  # type: ignore[attr-defined]


def imports(file: Path, *, types: bool = True) -> set[str]:
    found: set[str] = set()
    for node in nodes(file, types=types):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(file)}:{node.lineno}: write imports in full"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(file) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


each_file = pytest.mark.parametrize("file", FILES, ids=place)


@each_file
def test_you_take_the_stairs_down_never_up(file: Path) -> None:
    mine = room(file)
    for name in imports(file):
        package, _, rest = name.partition(".")
        theirs = rest.split(".")[0] if rest else "__init__"
        if package != "reprise" or theirs == mine or mine in ("__init__", "__main__"):
            continue
        # `import reprise` is the whole house, and so only the top floor may say it
        assert FLOOR.get(theirs, FLOOR["cli"]) <= FLOOR[mine], f"{place(file)} imports {name}, a floor above"
        assert theirs not in STRANGERS.get(mine, set()), f"{place(file)} imports {name}, a stranger"


@each_file
def test_a_library_lives_in_one_place(file: Path) -> None:
    for name in imports(file, types=False):
        library = name.partition(".")[0]
        homes = HOMES.get(library)
        assert homes is None or place(file).startswith(homes), (
            f"{place(file)} imports {library}; it lives in {homes}"
        )
        assert library not in RUNS_CODE_WHEN_READ, (
            f"{place(file)} imports {library}: a file must not run code"
        )


def test_only_the_export_knows_networks_in_the_recommender() -> None:
    for file in (SOURCE / "recommender").rglob("*.py"):
        known = {
            name for name in imports(file, types=False) if name.startswith(("reprise.models", "reprise.nn"))
        }
        assert file.name == "onnx_export.py" or not known, f"{place(file)} imports {known}, and with it torch"


@each_file
def test_a_file_has_one_subject_a_docstring_and_an_honest_name(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES, f"{place(file)} is too long: divide it by subject"
    docstring = ast.get_docstring(tree(file))
    assert docstring, f"{place(file)} does not say what it is"
    assert not VAGUE_NAMES & set(place(file).removesuffix(".py").split("/")), f"{place(file)}: say what it is"


@each_file
def test_functions_are_small(file: Path) -> None:
    for function in functions(file):
        where = f"{place(file)}:{function.lineno} {function.name}"
        assert body_lines(function) <= FUNCTION_LINES, f"{where} has {body_lines(function)} lines"
        # the parameters of a verb are the options that a person types
        assert room(file) == "cli" or parameters(function) <= PARAMETERS, (
            f"{where} has {parameters(function)} parameters"
        )


def test_most_functions_are_very_small() -> None:
    assert (
        statistics.median(body_lines(function) for file in FILES for function in functions(file))
        < MEDIAN_LINES
    )


def test_classes_are_shallow() -> None:
    parents = {
        node.name: [ast.unparse(parent).split("[")[0].split(".")[-1] for parent in node.bases]
        for file in FILES
        for node in nodes(file)
        if isinstance(node, ast.ClassDef)
    }

    def depth(name: str) -> int:
        return 1 + max(
            (depth(parent) for parent in parents[name] if parent in parents and parent != name), default=0
        )

    assert {name: depth(name) for name in parents if depth(name) > DEPTH} == {}


def written_files() -> Iterator[Path]:
    folders = [ROOT / name for name in ("src", "tests", "docs", "recipes", "benchmarks", "scripts", ".ci")]
    readable = {".py", ".md", ".toml", ".txt", ".json", ".jsonl", ".csv", ""}
    for file in (*ROOT.iterdir(), *(file for folder in folders for file in folder.rglob("*"))):
        hidden = any(part.endswith(".egg-info") or part == "__pycache__" for part in file.parts)
        if file.is_file() and file.suffix in readable and not hidden and file.name != ".git":
            yield file


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    somewhere = re.compile(r"(?<![\w.:/])/(?:root|home|work|Users)/")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in written_files()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if somewhere.search(line)
    ]
    assert found == []
