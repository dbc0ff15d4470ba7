"""`reprise export`: the choice of the search, and signatures, which other commands verify."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from safetensors.numpy import load_file

from reprise.recommender import PublicKey
from reprise.recommender.artefact import search_choice
from reprise.server import json_logging


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


def test_a_signed_model_is_verified_by_the_commands_that_read_it(
    shop: Path,
    reprise: Callable[..., Result],
    fails: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a server logs to the standard error of its process, which for a test is closed afterwards
    monkeypatch.setattr(json_logging, "write_to_stderr", lambda level: None)
    key, public, model = tmp_path / "key", tmp_path / "key.pub", tmp_path / "m"
    result = reprise("signing-key", key)
    assert result.exit_code == 0, result.output
    assert f"wrote the private key {key}, without a password" in result.output
    result = reprise("export", shop / "run", "--out", model, "--sign", key)
    assert result.exit_code == 0, result.output
    assert f"wrote {model}, signed by the key {PublicKey.of(public).fingerprint}" in result.output
    histories = shop / "log.csv"
    answers = reprise(
        "recommend", model, histories, "--k", 1, "--verify", public, "--out", tmp_path / "a.csv"
    )
    assert answers.exit_code == 0, answers.output
    (model / "manifest.sig").unlink()
    for command in ("recommend", "forecast"):
        assert " is not signed (it has no manifest.sig)" in fails(
            command, model, histories, "--verify", public
        )
    assert " is not signed" in fails(
        "serve", model, "--verify", public, "--store", f"sqlite:///{tmp_path}/e.db"
    )
    assert "runs are not signed" in fails("recommend", shop / "run", histories, "--verify", public)


def test_an_export_with_a_wrong_key_writes_nothing(
    shop: Path, fails: Callable[..., str], tmp_path: Path
) -> None:
    message = fails("export", shop / "run", "--out", tmp_path / "m", "--sign", tmp_path / "none")
    assert message.startswith(f"the key {tmp_path}/none cannot be read")
    assert not (tmp_path / "m").exists()
