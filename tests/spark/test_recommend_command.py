"""`reprise recommend --engine spark`: the rows of the command alone, a whole directory or none, and faults in one message."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from tests_of_spark import fails, succeed, table

pytestmark = pytest.mark.xdist_group("spark")
Alone = Callable[..., list[dict[str, Any]]]
SPARK = ("--engine", "spark")


def written(directory: Path) -> list[dict[str, Any]]:
    """The rows of a directory, in the order of its files."""
    assert (directory / "_SUCCESS").is_file()
    rows = [pq.read_table(file).to_pylist() for file in sorted(directory.glob("part-*"))]
    return [row for part in rows for row in part]


@pytest.mark.usefixtures("spark", "small_blocks")
def test_files_in_several_formats_give_the_rows_of_the_command_alone(
    model: Path, tmp_path: Path, alone: Alone
) -> None:
    events = table(events=300)
    folder = tmp_path / "my logs"
    folder.mkdir()
    # the larger file is the second one, which Spark would read first
    for name, part in (("a.parquet", events.slice(0, 60)), ("b.parquet", events.slice(60))):
        pq.write_table(part, folder / name, row_group_size=40)
    for name, part in (("a.csv", events.slice(0, 60)), ("b.csv", events.slice(60))):
        pa.csv.write_csv(part, tmp_path / name)
    for logs in ([folder], [tmp_path / "a.csv", tmp_path / "b.csv"]):
        result = succeed("recommend", model, *logs, "--k", "3", *SPARK, "--out", tmp_path / "out")
        assert written(tmp_path / "out") == alone(*logs, "--k", "3")
        assert result.stderr == succeed("recommend", model, *logs, "--k", "3").stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]


@pytest.mark.usefixtures("spark")
def test_a_run_is_sent_to_the_workers(trained: Path, tmp_path: Path, alone: Alone) -> None:
    lines = [
        f'{{"user": {user}, "item": {item}, "time": 1700000000}}' for user in (10, 9) for item in (3, 1, 2)
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + "\n")
    succeed("recommend", trained / "run", log, "--k", "2", *SPARK, "--out", tmp_path / "out")
    rows = written(tmp_path / "out")
    assert rows == alone(log, "--k", "2")
    assert [row["user_id"] for row in rows] == [9, 9, 10, 10]


@pytest.mark.usefixtures("spark")
def test_faults_are_named_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    pq.write_table(table(events=20), log)
    kept = tmp_path / "kept"
    kept.mkdir()
    call = ["recommend", model, log, *SPARK]
    assert fails(*call) == "Spark writes a directory of Parquet files; name it with --out"
    assert "name a directory" in fails(*call, "--out", tmp_path / "a.csv")
    assert "it exists and is not a directory that Spark wrote" in fails(*call, "--out", kept)
    assert "does not exist; create it first" in fails(*call, "--out", tmp_path / "no" / "out")
    assert "not on 'local[7]'" in fails(*call, "--out", tmp_path / "out", "--master", "local[7]")
    assert "--master is an option of Spark" in fails("recommend", model, log, "--master", "local[2]")
    assert "--send-model is an option of Spark" in fails("recommend", model, log, "--send-model")
    assert "no file at" in fails("recommend", model, tmp_path / "no.csv", *SPARK, "--out", tmp_path / "out")
    missing = fails("recommend", model, "delta:/tmp/events", *SPARK, "--out", tmp_path / "out")
    assert "delta" in missing and "add its package to Spark (spark.jars.packages)" in missing
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("spark")
def test_an_error_of_a_worker_is_one_line_and_leaves_the_older_result(model: Path, tmp_path: Path) -> None:
    log, out = tmp_path / "log.parquet", tmp_path / "out"
    pq.write_table(table(events=20), log)
    succeed("recommend", model, log, "--k", "2", *SPARK, "--out", out)
    before = written(out)
    message = fails("recommend", model, log, "--now", "1600000000", *SPARK, "--out", out)
    assert (
        message.startswith("now (2020-09-13T12:26:40+00:00) is before the last event") and "\n" not in message
    )
    assert written(out) == before
    succeed("recommend", model, log, "--k", "1", *SPARK, "--out", out)
    assert written(out) == [row for row in before if row["rank"] == 1]


def test_a_killed_driver_leaves_nothing_and_the_same_command_goes_on(
    model: Path, tmp_path: Path, alone: Alone
) -> None:
    log, out = tmp_path / "log.parquet", tmp_path / "out"
    pq.write_table(table(events=100), log)
    # a task that fails once is retried, and changes nothing
    script = tmp_path / "fail_once.py"
    script.write_text(FAIL_ONCE, encoding="utf-8")
    call = [
        sys.executable,
        str(script),
        "recommend",
        model,
        log,
        "--k",
        "2",
        *SPARK,
        "--master",
        "local[2,3]",
        "--out",
        out,
    ]
    environment = {
        **os.environ,
        "MARK": str(tmp_path / "mark"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    with subprocess.Popen(
        list(map(str, call)), env={**environment, "WAIT": "1"}, stderr=subprocess.PIPE
    ) as killed:
        deadline = time.monotonic() + 300
        while not (tmp_path / "mark").exists() and time.monotonic() < deadline and killed.poll() is None:
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
        _, errors = killed.communicate()
    assert (tmp_path / "mark").exists(), errors
    assert not out.exists()
    (tmp_path / "mark").unlink()
    done = subprocess.run(
        list(map(str, call)), env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mark").exists()  # a task has failed
    assert written(out) == alone(log, "--k", "2")
    assert done.stderr == succeed("recommend", model, log, "--k", "2").stderr
    assert "Exception" not in done.stderr


FAIL_ONCE = '''
"""The command with workers that wait, or fail once, after their first rows."""
import os
import time
from dataclasses import dataclass
from pathlib import Path
from reprise.spark import answer_frame


@dataclass(frozen=True)
class FailingOnce(answer_frame.Answers):
    def __call__(self, batches):
        for rows in super().__call__(batches):
            yield rows
            mark = Path(os.environ["MARK"])
            if not mark.exists():
                mark.touch()
                if "WAIT" in os.environ:
                    time.sleep(600)
                raise MemoryError("lost")


if __name__ == "__main__":
    import fail_once
    from reprise.cli.main import main
    answer_frame.Answers = fail_once.FailingOnce
    main()
'''
