"""`reprise export`: the choice of the search."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from safetensors.numpy import load_file

from reprise.recommender.artefact import search_choice


def test_a_small_catalogue_cannot_have_an_approximate_search(
    shop: Path, fails: Callable[..., str], tmp_path: Path
) -> None:
    message = fails("export", shop / "run", "--out", tmp_path / "m", "--search", "approximate")
    assert message.startswith("an approximate search needs at least 2000 items, the model has ")
    assert not (tmp_path / "m").exists()


def test_counts_are_left_out_on_request(shop: Path, reprise: Callable[..., Result], tmp_path: Path) -> None:
    """The log is predictable by counts, so the model with counts has the tables."""
    assert has_counts(shop / "model")
    result = reprise("export", shop / "run", "--out", tmp_path / "m", "--no-counts")
    assert result.exit_code == 0, result.output
    assert not has_counts(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text()
    assert "The files contain no counts of item pairs. They were left out when the model was saved." in card
    assert "transitions" not in card  # the fit of the training had the counts


def has_counts(model: Path) -> bool:
    return any(name.startswith("transitions.") for name in load_file(model / "vectors.safetensors"))


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
