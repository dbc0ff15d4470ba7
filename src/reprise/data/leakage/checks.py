"""Leak checks: `prepare`, `train` and `evaluate` refuse a dataset that leaks its targets."""

import json
import weakref
from collections.abc import Collection
from pathlib import Path

from reprise.argument_checks import shown
from reprise.atomic_files import write_text
from reprise.data.dataset import MANIFEST, SequenceDataset
from reprise.data.leakage.event_leaks import EventSearch, find_overlapping_parts
from reprise.data.leakage.feature_leaks import find_feature_leaks
from reprise.data.leakage.findings import LEAK_KINDS, Leak, LeakKind
from reprise.data.leakage.table_leaks import find_table_leaks
from reprise.errors import ConfigError, LeakError, did_you_mean

FACT = "leaks"
"""Key in the facts of a dataset of the leaks that were found and allowed."""
_cache: dict[int, tuple["weakref.ref[SequenceDataset]", tuple[Leak, ...]]] = {}


def find_leaks(dataset: SequenceDataset) -> tuple[Leak, ...]:
    """Return all leaks and notes of a dataset; see `Leak.fails`. The result is cached per dataset object."""
    cached = _cache.get(id(dataset))
    if cached is not None and cached[0]() is dataset:
        return cached[1]
    leaks = _search(dataset)
    key = id(dataset)
    _cache[key] = weakref.ref(dataset, lambda _: _cache.pop(key, None)), leaks
    return leaks


def _search(dataset: SequenceDataset) -> tuple[Leak, ...]:
    overlap = find_overlapping_parts(dataset)
    if overlap:
        return (overlap,)  # the other checks rely on parts that follow each other
    search = EventSearch(dataset)
    return (*search.leaks(), *find_table_leaks(dataset, search), *find_feature_leaks(dataset))


def check_leaks(
    dataset: SequenceDataset,
    allow: Collection[str] | None = None,
) -> tuple[Leak, ...]:
    """Check that a dataset does not leak its targets; return the allowed leaks and the notes.

    Args:
        dataset: The dataset; all its parts are checked.
        allow: Kinds of leaks that are known to be harmless; None: those that were allowed in `prepare`.

    Raises:
        LeakError: There is a leak. The message gives its kind, count, first rows and remedy.
        ConfigError: `allow` contains an unknown kind.
    """
    leaks = find_leaks(dataset)
    allowed = dataset.facts.get(FACT, {}).get("allowed", []) if allow is None else parse_kinds(allow)
    failing = [leak for leak in leaks if leak.fails and leak.kind not in allowed]
    if failing:
        raise LeakError(_message(dataset, failing))
    return leaks


def parse_kinds(allow: Collection[str]) -> tuple[LeakKind, ...]:
    """Return the kinds of leaks with these names.

    Raises:
        ConfigError: A name is unknown, or the argument is not a list of names.
    """
    if isinstance(allow, str):
        allow = [allow]
    if not isinstance(allow, list | tuple | set | frozenset) or not all(
        isinstance(kind, str) for kind in allow
    ):
        raise ConfigError(
            f"allow_leaks must be a list of kinds of leaks, got {shown(allow)}; pass ['late-feature']"
        )
    for kind in allow:
        if kind not in LEAK_KINDS:
            raise ConfigError(f"unknown kind of leak {kind!r}{did_you_mean(kind, LEAK_KINDS)}")
    return tuple(kind for kind in LEAK_KINDS if kind in allow)


def _message(dataset: SequenceDataset, failing: list[Leak]) -> str:
    kinds = list(dict.fromkeys(leak.kind for leak in failing))
    lines = [
        "the dataset leaks its targets, so metrics would be too high:",
        *(f"- {leak}" for leak in failing),
        f"If this is known to be harmless, prepare with allow_leaks={kinds!r} (--allow-leaks {','.join(kinds)})",
    ]
    return "\n".join(lines)


def leak_notes(dataset: SequenceDataset) -> tuple[str, ...]:
    """Check a dataset and return the sentences about leaks for the evaluation protocol.

    Raises:
        LeakError: There is a leak that is not allowed.
    """
    leaks = check_leaks(dataset)
    allowed = [leak for leak in leaks if leak.fails]
    passed = [kind for kind in LEAK_KINDS if kind not in {leak.kind for leak in allowed}]
    return (
        f"Leak checks passed: {', '.join(passed)}.",
        *(f"Leak allowed: {leak.kind}: {leak.sentence}." for leak in allowed),
        *(leak.sentence for leak in leaks if not leak.fails),
    )


def leak_warnings(dataset: SequenceDataset) -> list[str]:
    """Return one sentence per leak or note, without raising an error."""
    return [str(leak) for leak in find_leaks(dataset)]


def record_leaks(path: Path, leaks: Collection[Leak], allow: Collection[str]) -> None:
    """Record the found and allowed leaks in the manifest of a dataset; arrays and fingerprint do not change."""
    manifest = json.loads((path / MANIFEST).read_text())
    record = {"allowed": list(parse_kinds(allow)), "found": [leak_facts(leak) for leak in leaks]}
    if manifest["facts"].get(FACT) == record:
        return
    manifest["facts"][FACT] = record
    write_text(path / MANIFEST, json.dumps(manifest, indent=2))


def leak_facts(leak: Leak) -> dict[str, object]:
    """Return a leak as JSON values."""
    rows = [str(row) for row in leak.rows]
    return {
        "kind": leak.kind,
        "fails": leak.fails,
        "count": leak.count,
        "sentence": leak.sentence,
        "rows": rows,
    }
