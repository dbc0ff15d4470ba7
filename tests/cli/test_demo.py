"""Tests of `reprise demo` with a small event log."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from reprise.cli.commands import demo
from reprise.cli.main import app


def test_demo_prints_recommendations_the_comparison_and_next_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = "".join(
        f"u{user},{(user + step) % 40},{1_700_000_000 + step * 86_400 * 2 + user}\n"
        for user in range(30)
        for step in range(30)
    )
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("user_id,item_id,timestamp\n" + generator)
    items.write_text("item_id,title\n" + "".join(f"{item},Mug {item}\n" for item in range(40)))
    monkeypatch.setattr("reprise.data.examples.online_retail", lambda: (log, items))
    monkeypatch.setattr(demo, "RECIPE", ["model.size=16", "model.layers=1", "training.epochs=1"])
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    places = [result.stdout.index(text) for text in ("customer", "Mug", "recall@20", "Popularity", "next:")]
    assert result.stdout.index("next:") == max(places)
    model, log = tmp_path / "out" / "model", tmp_path / "out" / "events.db"
    assert result.stdout.splitlines()[-1] == f"  reprise serve {model} --store sqlite:///{log}"
    assert "Mug" in result.stdout
    assert (tmp_path / "out" / "model" / "manifest.json").exists()
