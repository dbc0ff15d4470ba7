"""The scripts that train a network of ours run to their end, and write what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def ran(script: str, *options: str) -> str:
    """What a script prints."""
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wrote(out: Path, script: str, *options: str) -> Any:
    """What a script leaves in its file."""
    ran(script, *options, "--out", str(out))
    return json.loads(out.read_text())


def test_networks_are_compared(path: Path, tmp_path: Path) -> None:
    found = wrote(tmp_path / "found.json", "choosing.py", str(path), "--epochs", "1", "--sizes", "8")
    rows = found["logs"]["data"]
    state = {row["network"]: row["state"] for row in rows}
    assert len(state) == len(rows) == 9
    assert state["lstm"] == state["gru"] + 8  # its cell state
    assert all(0 <= row["recall@20"] <= 1 for row in rows)


def test_the_memory_of_cells_is_measured(tmp_path: Path) -> None:
    options = ["--size", "8", "--epochs", "1", "--distances", "2"]
    found = wrote(tmp_path / "found.json", "forgetting.py", *options)
    for stack in ("bare", "residual"):
        assert len(found["recall@1"][stack]) == len(found["gradient"][stack]) == 7
        assert all(0 <= recall <= 1 for values in found["recall@1"][stack].values() for recall in values)


def test_the_cost_of_erasure_is_measured(tmp_path: Path) -> None:
    found = wrote(tmp_path / "found.json", "erasure.py", "--rows", "2000", "--repeats", "1")
    assert found["2000"]["pseudonymise"]["cpu_s"] > 0 and found["2000"]["ratio of prepare"] > 0


def test_cost_by_events_is_measured(tmp_path: Path) -> None:
    found = wrote(tmp_path / "found.json", "linear.py", "--doublings", "1", "--size", "8")
    assert [row["length"] for row in found["longer"]] == [50, 100]
    assert [row["sequences"] for row in found["more"]] == [500, 1000]


def test_ours_is_evaluated_at_the_given_times(path: Path, tmp_path: Path) -> None:
    options = ["--seconds", "60", "--times", "0.1", "--counts", "--sums", str(tmp_path / "sums")]
    sets = ["--set", "model.size=8", "--set", "training.epochs=4"]
    head, *lines = map(json.loads, ran("ours.py", str(path), *options, *sets).splitlines())
    assert head["options"]["model"]["size"] == 8
    assert [line["part"] for line in lines] == ["test"] * len(lines)
    assert lines
    assert all(0 < line["ndcg@10"] <= 1 and line["events"] > 0 for line in lines)
    assert {file.suffix for file in (tmp_path / "sums").iterdir()} == {".npz"}


def test_an_evaluation_is_compared_with_its_product() -> None:
    sizes = ["--targets", "200", "--items", "700", "--width", "8", "--threads", "1", "--rounds", "1"]
    found = json.loads(ran("evaluation.py", *sizes, "--seen"))
    lists = {"without lists", "with lists"}
    assert found["ratio"].keys() == lists | {f"{name}, with the head" for name in lists}
    assert all(ratio > 0 for ratio in found["ratio"].values())


def test_queries_of_neighbours_are_counted(path: Path) -> None:
    recipe = BENCHMARKS.parent / "recipes" / "retailrocket-sessions-knn.toml"
    options = ["--queries", "10", "--rounds", "1", "--at", "5", "--recipe", str(recipe)]
    found = json.loads(ran("knn.py", str(path), *options))
    assert found["queries"] == 10
    assert {"Markov", "ItemKNN", "SessionKNN"} <= found["scorers"].keys()
    for scorer in found["scorers"].values():
        assert min(scorer["queries a second, in batches"], scorer["queries a second, one at a time"]) > 0


def test_encoding_of_items_is_measured() -> None:
    found = json.loads(ran("content.py", "--rows", "300", "--rounds", "1"))
    for name in ("words", "characters", "detected"):
        assert found[name]["items_per_s"] > 0 and found[name]["ms_per_new_item"] > 0, name
    assert found["detected"]["features"] > found["words"]["features"]


def test_every_family_is_in_one_report(tmp_path: Path) -> None:
    """Two families of fifteen, two seeds: a page, its facts, and a table between the marks of a page."""
    logs, out, page = tmp_path / "logs", tmp_path / "out", tmp_path / "results.md"
    (logs / "yoochoose-100k").mkdir(parents=True)
    rows = [
        (f"s{session}", f"i{(session + step) % 30}", 1_400_000_000 + 3000 * session + 60 * step)
        for session in range(240)
        for step in range(5)
    ]
    session, item, time_s = zip(*rows, strict=True)
    table = pa.table({"session_id": session, "item_id": item, "timestamp": time_s})
    pq.write_table(table, logs / "yoochoose-100k" / "interactions.parquet")
    page.write_text("# Results\n\n<!-- begin families -->\nold\n<!-- end families -->\n\nThe rest.\n")
    options = ["--sets", "yoochoose-100k", "--families", "rglru", "caser", "--seeds", "2", "--size", "8"]
    command = [
        str(logs),
        *options,
        "--epochs",
        "1",
        "--workers",
        "1",
        "--out",
        str(out),
        "--results",
        str(page),
    ]
    ran("families.py", *command)
    facts = json.loads((out / "yoochoose-100k.json").read_text())
    names = [entrant["name"] for entrant in facts["entrants"]]
    assert [len(entrant["seeds"]) for entrant in facts["entrants"][:2]] == [2, 2]
    assert (out / "yoochoose-100k.html").read_text().startswith("<!doctype html>")
    text = page.read_text()
    assert "old" not in text and text.endswith("The rest.\n")
    assert all(f"| {name} |" in text for name in names)
    best = text.split("| minus the first |")[1].splitlines()[2]
    assert best.endswith("|  |")
    # trained already: only the comparison is made again
    before = {run: run.stat().st_mtime_ns for run in out.glob("runs/*/*/best.safetensors")}
    ran("families.py", *command)
    assert before == {run: run.stat().st_mtime_ns for run in out.glob("runs/*/*/best.safetensors")}


def test_the_search_is_measured() -> None:
    options = ["--items", "300", "--queries", "1", "3", "--width", "8", "--repeats", "1"]
    rows = [json.loads(line) for line in ran("search.py", *options).splitlines()]
    assert [(row["items"], row["queries"]) for row in rows] == [(300, 1), (300, 3)]
    assert all(row["exact / quick"] > 0 for row in rows)


def test_training_in_parallel_is_measured(path: Path) -> None:
    tiny = ["model.size=8", "model.layers=1", "model.cooccurrence=0", "model.repeats=0", "training.epochs=1"]
    options = ["--ensemble", "--without-threads", "--rounds", "1", "--set", *tiny, "training.refit=0"]
    found = json.loads(ran("parallel_training.py", str(path), *options))
    serial, parallel = "one after the other, one thread", "in parallel, one thread each"
    assert found[serial].keys() == found[parallel].keys() == {"wall_s", "cpu_s", "cores"}
    median, only = found[f"wall_s: {serial} / {parallel}"]
    assert median == only > 0


def test_training_with_large_catalogues_is_measured() -> None:
    """A table of 2,001 rows of width 8 takes 64 kB."""
    options = ["--size", "8", "--events", "4000", "--rounds", "1"]
    found = json.loads(ran("large_catalogues.py", "--job", "steps", "--sizes", "2000", "4000", *options))
    assert [facts["table_MB"] for facts in found["tables"].values()] == [0.06, 0.13]
    assert found["times the first"]["2000"] == 1 and found["times the first"]["4000"] > 0
    whole = json.loads(ran("large_catalogues.py", "--job", "train", "--sizes", "2000", *options))
    assert whole["checkpoints"] == 1 and whole["checkpoint_MB"] > 0.06
    assert whole["log_MB"] <= whole["peak_MB"]


def test_private_steps_are_compared_with_plain_ones() -> None:
    sizes = [
        "--sizes",
        "8",
        "--users",
        "3",
        "--events",
        "4",
        "--items",
        "20",
        "--targets",
        "2",
        "--rounds",
        "1",
    ]
    (found,) = json.loads(ran("private_steps.py", *sizes)).values()
    assert list(found) == ["network", "with the softmax"]
    for row in found.values():
        assert min(row["step, times plain"], row["gradient, times plain"]) > 0


def test_event_logs_are_measured(tmp_path: Path) -> None:
    options = ["--groups", "1", "64", "--seconds", "0.05", "--rounds", "2"]
    stores = ["--store", f"sqlite:///{tmp_path}/a.db", "--store", f"sqlite:///{tmp_path}/b.db"]
    found = json.loads(ran("stores.py", *stores, *options))
    assert list(found) == ["sqlite 1", "sqlite 2"]
    for log in found.values():
        assert min(log["append"][group]["events_per_s"] for group in ("1", "64")) > 0
        assert all(0 < row["median_ms"] <= row["p99_ms"] for row in log["since"].values())


def test_private_training_is_measured(path: Path, tmp_path: Path) -> None:
    options = ["--epsilons", "4", "--shares", "0.5", "--runs", "1", "--release", "1"]
    found = wrote(tmp_path / "found.json", "private_training.py", str(path), *options)
    assert list(found["epsilon"]) == ["4.0"] and len(found["users"]) == 1
    for row in (found["epsilon"]["4.0"], *found["users"].values()):
        assert 0 <= row["low"] <= row["ndcg@10"] <= row["high"] <= 1
