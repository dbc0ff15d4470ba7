"""From a log of events to a dataset on disk, in steps that survive a kill, within a memory limit.

Read (number the rows), code (ids to integers, one sort), clean (duplicates, sessions, minimum counts), write
(split, vocabulary, arrays). The first three leave tables in the work folder, the last the dataset itself, which is
searched for leaks before it becomes visible.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from reprise.data.dataset import MANIFEST, SequenceDataset
from reprise.data.io.duckdb_engine import DEFAULT_MEMORY, DiskFullError
from reprise.data.leakage.checks import check_leaks, checked_kinds, write_findings
from reprise.data.preparing.plan import Plan, PrepareOptions, make_plan
from reprise.data.preparing.steps import clean_step, code_step, read_step, write_step
from reprise.data.preparing.workspace import Workspace, check_room, remove_leftovers
from reprise.data.split import Split
from reprise.errors import DataError, LeakError
from reprise.progress import ShowProgress, StepReport, step_reporter

BYTES_A_ROW = 100
"""Of disk while a log is prepared, about: the coded table, the arrays, and what a sort spills."""


def prepare(
    events: Any,
    out: str | Path,
    *,
    items: Any = None,
    split: Split | str | None = None,
    memory_limit: str = DEFAULT_MEMORY,
    overwrite: bool = False,
    progress: ShowProgress = None,
    allow_leaks: Collection[str] = (),
    **options: Any,
) -> SequenceDataset:
    """Make a dataset of a log, or open the one that the same call made before.

    It may be killed at any time: the same call goes on where it was, and `out` appears whole or not at all.

    Args:
        events: What `read_events` returns, or anything that it takes.
        out: The folder to make.
        items: A table of the items: a path, a frame, an Arrow or Ibis table.
        split: Where training ends; by default the last two weeks are validation and test. Words as on the command
            line will do: `leave-one-out`.
        memory_limit: How much memory the tables may take, such as `512MB`; beyond it they are spilled to disk.
        overwrite: Whether a dataset of another call at `out` may be replaced.
        progress: A function of (step, share done); True or False for a bar or none; None for a bar on a terminal.
        allow_leaks: Kinds of leaks that are known and harmless, such as `late-feature`: they are noted, and nothing fails.
        **options: Fields of `PrepareOptions`: sequence_by, session_gap, min_item_events, min_sequence_events,
            duplicates.

    Raises:
        DataError: The log, the item table or the split cannot be used, or the disk is full.
        LeakError: The dataset gives away what a model will be asked about. It is kept, out of sight, so that the same call
            with `allow_leaks` need not make it again.
        ConfigError: An option is unknown or impossible.
    """
    plan = make_plan(events, items, split, PrepareOptions.of(options))
    allow = checked_kinds(allow_leaks)
    out = Path(out)
    with step_reporter(progress, "prepare") as report:
        if _is_made(out, plan, overwrite):
            remove_leftovers(out)
            _search(out, allow)
            report(f"{out} is up to date", 1.0)
            return SequenceDataset.open(out)
        work = Workspace(out, plan.key, memory_limit)
        try:
            _make(plan, work, report)
            report("looking for leaks", 0.95)
            _search(work.result, allow)
        except (DiskFullError, LeakError):
            work.engine.close()
            raise
        except DataError:
            work.engine.close()
            work.remove()
            raise
        work.publish(out)
        report("prepared", 1.0)
    return SequenceDataset.open(out)


def _is_made(out: Path, plan: Plan, overwrite: bool) -> bool:
    """Whether `out` already holds what this call would make."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        manifest = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict):
        raise DataError(f"{out} exists and is no dataset; choose another place or remove it")
    if manifest.get("made_by") == plan.key:
        return _is_whole(out)
    if not overwrite:
        raise DataError(
            f"{out} holds a dataset of other events, columns or options; choose another place, or replace it with "
            "overwrite=True (--overwrite)"
        )
    return False


def _search(place: Path, allow: Collection[str]) -> None:
    """Raise a LeakError where a dataset leaks, unless that is allowed now; else write down what was found."""
    dataset = SequenceDataset.open(place)
    write_findings(place, check_leaks(dataset, allow), allow)


def _is_whole(out: Path) -> bool:
    """Whether a dataset of this call can be opened; a damaged one is made again."""
    try:
        SequenceDataset.open(out)
    except DataError:
        return False
    return True


def _make(plan: Plan, work: Workspace, report: StepReport) -> None:
    report("reading", 0.0)
    read = work.step("read", lambda: read_step(plan, work))
    check_room(work.folder, read["rows"] * BYTES_A_ROW)
    report("coding", 0.1)
    coded = work.step("code", lambda: code_step(plan, work.engine, read))
    report("cleaning", 0.7)
    cleaned = work.step("clean", lambda: clean_step(plan, work.engine))
    report("writing", 0.8)
    work.step("write", lambda: write_step(plan, work, coded, cleaned))
