"""Preparation of a dataset from an event log, in resumable steps within a memory limit.

The steps are: read (number the rows), encode (ids to integers, one sort), clean (duplicates, sessions, minimum counts)
and write (split, vocabulary, arrays). The first three save tables in the work directory. The last one writes the
dataset, which is checked for leaks before it is moved to its final place.
"""

import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from reprise.atomic_files import writing
from reprise.data.dataset import MANIFEST, SequenceDataset
from reprise.data.io.duckdb_engine import DEFAULT_MEMORY, DiskFullError, StoppedError
from reprise.data.io.engine import EngineChoice
from reprise.data.leakage.checks import check_leaks, parse_kinds, record_leaks
from reprise.data.preparing.plan import Plan, PrepareOptions, make_plan
from reprise.data.preparing.steps import clean_step, encode_step, read_step, write_step
from reprise.data.preparing.workspace import Workspace, check_free_space, has_leftovers, remove_leftovers
from reprise.data.split import Split
from reprise.directory_lock import locked_output
from reprise.errors import ConfigError, DataError, LeakError
from reprise.progress import ShowProgress, StepReport, step_reporter

BYTES_PER_ROW = 100
"""Approximate disk space per event during preparation: the encoded table, the arrays and the spill of the sort."""
WORK = "prepares"
"""What another process does, in the message about its lock."""


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
    """Prepare a dataset from an event log, or open it if the same call has already prepared it.

    The call can be killed at any time. The same call then continues after the last finished step, and `out` is created
    only when the dataset is complete.

    Args:
        events: The result of `read_events`, or any source that it accepts.
        out: Directory to create.
        items: Item table: a path, a data frame, an Arrow or an Ibis table, or a source from `reprise.data.open_source`.
        split: Rule that divides the sequences, as an object or as on the command line, such as `leave-one-out`. Default:
            the last week is for test and the week before it for validation.
        memory_limit: Memory limit of the table engine, such as `512MB`; beyond it, data is spilled to disk.
        overwrite: Whether to replace a dataset of another call at `out`.
        progress: A function of (step, share done); True or False for a bar or none; None for a bar on a terminal.
        allow_leaks: Kinds of leaks that are known to be harmless, such as `late-feature`; they are reported as notes.
        **options: Fields of `PrepareOptions`: sequence_by, session_gap, min_item_events, min_sequence_events,
            duplicates, max_events_per_day. `users`: a table in the same forms as `items`, with one row per user or session:
            attributes such as a country. `engine`: `duckdb`, or `spark` for logs that exceed one machine; the dataset is the
            same. `master`: where Spark runs, such as `local[2]`; None: the Spark of this process or of its configuration.
            `forget`: users whose events are left out before anything else: the queue of an event store
            (`SQLiteStore.erased_users`), a text file with one id a line, or a list of ids. `consent`: column of the log that
            says whether an event may be used (true or false, yes or no, 1 or 0); the others and those without a value are
            left out.

    Raises:
        DataError: The log, a table or the split is invalid, or the disk is full.
        LeakError: The dataset leaks targets. It is kept in the work directory, so that the same call with `allow_leaks`
            does not prepare it again.
        ConfigError: An option is unknown or invalid, or another process prepares `out`.
        ArtefactError: `out` cannot be written.
    """
    users, forget, consent = (options.pop(name, None) for name in ("users", "forget", "consent"))
    engine = EngineChoice(options.pop("engine", "duckdb"), options.pop("master", None), memory_limit)
    plan = make_plan(events, items, split, PrepareOptions.from_keywords(options), users, forget, consent)
    allow = parse_kinds(allow_leaks)
    out = Path(out)
    with step_reporter(progress, "prepare") as report:
        if _is_prepared(out, plan, overwrite):
            _remove_leftovers(out)
            _check(out, allow)
            report(f"{out} is up to date", 1.0)
            return SequenceDataset.open(out)
        with writing(out):
            out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with locked_output(out, WORK):
            if not _is_prepared(out, plan, overwrite):  # another process may have prepared it meanwhile
                _prepare(plan, out, engine, allow, report)
        report("prepared", 1.0)
    return SequenceDataset.open(out)


def _prepare(plan: Plan, out: Path, engine: EngineChoice, allow: Collection[str], report: StepReport) -> None:
    """Run the steps that are left, and make the dataset visible."""
    work = Workspace(out, plan.hash, engine)
    try:
        _run_steps(plan, work, report)
        report("checking for leaks", 0.95)
        _check(work.result, allow)
    except (DiskFullError, StoppedError, LeakError):
        work.engine.close()
        raise
    except DataError:
        work.engine.close()
        work.remove()
        raise
    work.publish(out)


def _remove_leftovers(out: Path) -> None:
    """Remove the work directory of a call that was killed after it had created the dataset."""
    if has_leftovers(out):
        with suppress(ConfigError), locked_output(out, WORK):  # another process prepares other data there
            remove_leftovers(out)


def _is_prepared(out: Path, plan: Plan, overwrite: bool) -> bool:
    """Return whether `out` already contains the dataset of this call.

    Raises:
        DataError: `out` contains something else that must not be replaced.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        manifest = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise DataError(f"{out} exists and is not a dataset; choose another directory or remove it")
    if manifest.get("made_by") == plan.hash:
        return _is_complete(out)
    if not overwrite:
        raise DataError(
            f"{out} holds a dataset of other events, columns or options; choose another directory, or replace it with "
            "overwrite=True (--overwrite)"
        )
    return False


def _check(path: Path, allow: Collection[str]) -> None:
    """Check a dataset for leaks and record the result in its manifest.

    Raises:
        LeakError: The dataset has a leak that is not allowed.
    """
    dataset = SequenceDataset.open(path)
    record_leaks(path, check_leaks(dataset, allow), allow)


def _is_complete(out: Path) -> bool:
    """Return whether the dataset can be opened; a damaged one is prepared again."""
    try:
        SequenceDataset.open(out)
    except DataError:
        return False
    return True


def _run_steps(plan: Plan, work: Workspace, report: StepReport) -> None:
    report("reading", 0.0)
    read = work.step("read", lambda: read_step(plan, work.engine, work.directory))
    check_free_space(work.directory, read["rows"] * BYTES_PER_ROW)
    report("encoding", 0.1)
    encoded = work.step("code", lambda: encode_step(plan, work.engine, read))
    report("cleaning", 0.7)
    cleaned = work.step("clean", lambda: clean_step(plan, work.engine))
    report("writing", 0.8)
    work.step("write", lambda: write_step(plan, work, encoded, cleaned))
