"""Classes are found by their names `module:Class`, also by those of files from before 0.1.0."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reprise.class_names import class_name, resolve
from reprise.errors import ConfigError, DataError


def message_of(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


@pytest.fixture
def outsider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module outside the package that creates a file when it is imported."""
    mark = tmp_path / "was_run"
    (tmp_path / "outsider.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Mine: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield mark
    sys.modules.pop("outsider", None)


def test_a_class_outside_the_package_is_not_imported_unless_trusted(outsider: Path) -> None:
    assert message_of(lambda: resolve("outsider:Mine")) == (
        "'outsider:Mine' lies outside the package reprise, and importing it would run its code; "
        "if you trust it, pass trusted=True (on the command line: --trusted)"
    )
    assert not outsider.exists()
    assert resolve("outsider:Mine", trusted=True).__name__ == "Mine"
    assert outsider.exists()


def test_a_package_with_the_same_prefix_is_outside_the_package() -> None:
    assert "lies outside the package reprise" in message_of(lambda: resolve("reprise_evil:Model"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".x:Y", "'.x:Y' is not the name of a class; write module:Class, as in reprise:Recurrent"),
        ("Recurrent", "'Recurrent' is not the name of a class; write module:Class, as in reprise:Recurrent"),
        (
            "reprise.erors:DataError",
            "cannot find the module of 'reprise.erors:DataError' (no 'reprise.erors')",
        ),
        ("reprise.errors:DataEror", "module 'reprise.errors' has no 'DataEror'; did you mean 'DataError'?"),
    ],
)
def test_an_unknown_class_name_gives_a_precise_message(name: str, message: str) -> None:
    assert message_of(lambda: resolve(name)) == message


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (
            "import a_package_that_does_not_exist",
            "ModuleNotFoundError: No module named 'a_package_that_does_not_exist'",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: invalid syntax"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, cause: str
) -> None:
    (tmp_path / "needy.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        resolve("needy:Model", trusted=True)
    assert str(caught.value).startswith(f"the module 'needy' cannot be imported: {cause}")


def test_a_class_of_an_imported_module_may_be_named_without_importing_anything(outsider: Path) -> None:
    with pytest.raises(ConfigError, match="lies outside the package"):
        resolve("outsider:Mine", trusted="imported")
    resolve("outsider:Mine", trusted=True)
    assert resolve("outsider:Mine", trusted="imported").__name__ == "Mine"
    with pytest.raises(ConfigError, match="lies outside the package"):
        resolve("outsider:Mine")


def test_class_name_is_the_same_for_an_object_and_its_class() -> None:
    assert class_name(DataError()) == class_name(DataError) == "reprise:DataError"
    assert resolve(class_name(DataError)) is DataError


def test_class_name_uses_the_package_that_exports_the_class() -> None:
    from reprise import Recurrent

    assert class_name(Recurrent) == "reprise:Recurrent"


def test_a_renamed_class_is_found_under_its_former_name() -> None:
    from reprise import Cooccurrence

    assert resolve("reprise:Transitions") is Cooccurrence
    assert resolve("reprise.models.counted_transitions:Transitions") is Cooccurrence


@pytest.mark.parametrize(
    "name", ["reprise.models.networks.recurrent:Recurrent", "reprise.models.gone:Recurrent"]
)
def test_a_class_whose_module_has_moved_is_found(name: str) -> None:
    from reprise import Recurrent

    assert resolve(name) is Recurrent
