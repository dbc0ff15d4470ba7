"""What a notebook shows: short texts, escaped tables, frames of pandas and polars, and frames as input."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pytest
import torch

import reprise as rp
from reprise import progress
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError, MissingLibraryError
from reprise.frame_output import frame_of
from reprise.notebook_html import MAX_ROWS, html_table
from reprise.testing.worlds import cycle, world


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    return cycle(items=12, sequences=40, length=12)


@pytest.fixture(scope="module")
def objects(data: SequenceDataset) -> dict[str, Any]:
    torch.manual_seed(0)
    network = rp.Recurrent(size=8, layers=1, cooccurrence=0, repeats=0).build(data.sizes).eval()
    markov = rp.Markov().fit(data)
    report, other = (rp.evaluate(model, data, at=(5,)) for model in (markov, rp.Popularity().fit(data)))
    shop = rp.Recommender(network, data)
    session = shop.session()
    session.add("i3")
    events = rp.read_events({"user_id": ["a"], "item_id": ["x"], "timestamp": [1_700_000_000]})
    return {
        "dataset": data, "network": network, "markov": markov, "report": report, "shop": shop, "session": session,
        "comparison": rp.compare(report, other), "answer": shop.recommend(["i1", "i2"], k=9), "events": events,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["dataset", "network", "markov", "report", "shop", "session", "comparison", "answer", "events"]
)
def test_a_representation_is_short_and_has_no_address(name: str, objects: dict[str, Any]) -> None:
    text = repr(objects[name])
    assert len(text) <= 300, text
    assert " at 0x" not in text and "\n" not in text


@pytest.mark.parametrize("name", ["dataset", "report", "comparison", "answer"])
def test_a_notebook_gets_a_small_table(name: str, objects: dict[str, Any]) -> None:
    html = objects[name]._repr_html_()
    assert html.count("<table") == 1
    assert len(html) < 10_000


def test_texts_of_a_table_are_escaped_and_long_tables_are_cut() -> None:
    html = html_table("<b>", ["a"], [("<script>", number) for number in range(MAX_ROWS + 3)])
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert html.count("<tr>") == MAX_ROWS + 1
    assert "and 3 more rows" in html
    evil = world([["<img>", "b", "c", "d"]] * 5)
    answer = rp.Recommender(
        rp.Recurrent(size=8, layers=1, cooccurrence=0, repeats=0).build(evil.sizes).eval(), evil
    )
    assert "<img>" not in answer.recommend(["b"], k=3)._repr_html_()


@pytest.mark.parametrize(("library", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_results_become_frames(library: Any, kind: type, objects: dict[str, Any]) -> None:
    frames = {name: objects[name].to_frame(library) for name in ("report", "comparison", "answer", "dataset")}
    assert all(isinstance(frame, kind) for frame in frames.values())
    report = objects["report"]
    assert frames["report"]["value"].to_list() == [found.value for found in report.metrics.values()]
    assert frames["answer"]["item_id"].to_list() == objects["answer"].item_ids
    assert frames["comparison"]["metric"].to_list() == [*objects["comparison"].differences[0]]


def test_the_events_of_a_dataset_become_a_frame_with_their_parts(data: SequenceDataset) -> None:
    frame = data.to_frame()
    assert len(frame) == data.events
    assert frame["part"].value_counts().to_dict() == {
        part: data.part_events(part) for part in ("train", "valid", "test")
    }
    first = frame[frame.user_id == data.users[0]]
    assert first.item_id.tolist() == data.items.item_ids(data.item[: data.offset[1]])


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingLibraryError, match="pip install polars"):
        frame_of({"a": [1]}, "polars")
    with pytest.raises(ConfigError, match="library must be"):
        frame_of({"a": [1]}, "arrow")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_frame_of_events_gets_recommendations_for_each_user(make: Any, objects: dict[str, Any]) -> None:
    shop = objects["shop"]
    frame = make(
        {
            "UserId": ["b", "a", "b"],
            "item": ["i5", "i1", "i4"],
            "time": [1_700_000_100, 1_700_000_000, 1_700_000_050],
        }
    )
    answer = shop.recommend_frame(frame, k=3, exclude_seen=True)
    assert isinstance(answer, make)
    assert answer["user_id"].to_list() == ["b"] * 3 + ["a"] * 3
    for user, history in (
        ("b", [("i4", 1_700_000_050), ("i5", 1_700_000_100)]),
        ("a", [("i1", 1_700_000_000)]),
    ):
        own = [
            item
            for one, item in zip(answer["user_id"].to_list(), answer["item_id"].to_list(), strict=True)
            if one == user
        ]
        assert own == shop.recommend(history, k=3, exclude_seen=True).item_ids
    with pytest.raises(DataError, match="the frame has no item column"):
        shop.recommend_frame(make({"user": ["a"]}))


def test_a_frame_as_a_history_is_refused(objects: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        objects["shop"].recommend(pd.DataFrame({"item_id": ["i1"]}))
    with pytest.raises(DataError, match="use recommend_many for histories"):
        objects["shop"].recommend_frame([["i1"]])


def test_a_notebook_sees_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ipython = ModuleType("IPython")
    shell = SimpleNamespace(kernel=object())
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with progress.step_reporter(None, "prepare") as report:
        for share in (0.0, 0.5, 1.0):
            report("reading", share)
    with progress.TrainingProgress(None, 1, 1) as bar:
        bar.line("epoch 1/1")
    assert capsys.readouterr().err == "reading\nepoch 1/1\n"
    shell.kernel = None
    with progress.TrainingProgress(None, 1, 1) as bar:
        bar.line("epoch 1/1")
    assert capsys.readouterr().err == ""
