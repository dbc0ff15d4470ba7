"""`reprise export`: the choice of the search."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from reprise.recommender.artefact import search_choice


def test_a_small_catalogue_cannot_have_an_approximate_search(
    shop: Path, fails: Callable[..., str], tmp_path: Path
) -> None:
    message = fails("export", shop / "run", "--out", tmp_path / "m", "--search", "approximate")
    assert message.startswith("an approximate search needs at least 2000 items, the model has ")
    assert not (tmp_path / "m").exists()


def test_the_recall_is_printed(
    shop: Path, reprise: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_choice, "MIN_ITEMS", 1)
    result = reprise(
        "export", shop / "run", "--out", tmp_path / "m", "--search", "approximate", "--recall", 0.9
    )
    assert result.exit_code == 0, result.output
    assert "the search is approximate: it found 100.0% of the 20 best items of sampled users" in result.output
    assert (tmp_path / "m" / "search.faiss").exists()
