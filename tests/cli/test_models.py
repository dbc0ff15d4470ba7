"""The command `reprise models`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Fails = Callable[..., str]


def test_versions_are_published_promoted_listed_and_rolled_back(
    reprise: Run, shop: Path, tmp_path: Path
) -> None:
    store = tmp_path / "models"
    published = reprise("models", "publish", store, shop / "model", "--note", "week 1", "--promote")
    assert published.output == "published version 1, which is current now\n"
    assert f"reprise models promote {store} 2" in reprise("models", "publish", store, shop / "model").output
    assert reprise("models", "promote", store, 2).output == "version 2 is current\n"
    listed = reprise("models", "list", store).output
    assert [line.split()[:2] for line in listed.splitlines() if line.strip()[:1].isdigit()] == [
        ["1", "before"],
        ["2", "current"],
    ]
    assert "week 1" in listed
    assert reprise("models", "rollback", store).output == "version 1 is current\n"
    reprise("models", "publish", store, shop / "model")
    assert reprise("models", "gc", store, "--keep", 1).output == "nothing to remove\n"
    assert (
        reprise("models", "gc", store, "--keep", 1, "--min-age", "1ms", "--dry-run").output
        == "would remove 2\n"
    )
    assert reprise("models", "gc", store, "--keep", 1, "--min-age", "1ms").output == "removed 2\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "{new}"), "does not exist; make it with `reprise models publish"),
        (("promote", "{store}"), "`reprise models promote` needs VERSION after the store"),
        (("list", "{store}", "2"), "`reprise models list` takes no third argument, got '2'"),
        (("rollback", "{store}"), "has no earlier current version"),
        (("publish", "{store}", "{shop}"), "is not a saved model"),
        (("list", "{shop}/model"), "is not a model store (it is a saved model)"),
        (("gc", "{store}", "--min-age", "soon"), "'soon'"),
    ],
)
def test_mistakes_are_explained(
    words: tuple[str, ...], message: str, fails: Fails, reprise: Run, shop: Path, tmp_path: Path
) -> None:
    reprise("models", "publish", tmp_path / "store", shop / "model")
    given = [word.format(new=tmp_path / "new", store=tmp_path / "store", shop=shop) for word in words]
    assert message in fails("models", *given)
