"""Whether training, or the inputs of a target, know what they are asked about. Looked for in every `prepare` and `evaluate`."""

import json
import weakref
from collections.abc import Collection
from pathlib import Path

from reprise.data.dataset import MANIFEST, SequenceDataset
from reprise.data.leakage.event_leaks import EventSearch, overlapping
from reprise.data.leakage.feature_leaks import feature_leaks
from reprise.data.leakage.findings import KINDS, Leak, LeakKind
from reprise.errors import ConfigError, LeakError, did_you_mean

FACT = "leaks"
"""Where the facts of a dataset say what was found and allowed."""
_found: dict[int, tuple["weakref.ref[SequenceDataset]", tuple[Leak, ...]]] = {}


def find_leaks(dataset: SequenceDataset) -> tuple[Leak, ...]:
    """Everything by which training or the inputs know their targets; see `Leak.fails`. A dataset is searched once."""
    known = _found.get(id(dataset))
    if known is not None and known[0]() is dataset:
        return known[1]
    leaks = _search(dataset)
    key = id(dataset)
    _found[key] = weakref.ref(dataset, lambda _: _found.pop(key, None)), leaks
    return leaks


def _search(dataset: SequenceDataset) -> tuple[Leak, ...]:
    broken = overlapping(dataset)
    if broken:
        return (broken,)
    search = EventSearch(dataset)
    return (*search.leaks(), *feature_leaks(dataset, search))


def check_leaks(
    dataset: SequenceDataset,
    allow: Collection[str] | None = None,
) -> tuple[Leak, ...]:
    """Raise where a dataset leaks; returns what was found and does not fail.

    Args:
        dataset: What is looked at, whole.
        allow: Kinds of leaks that are known and harmless; None: those that the dataset was prepared with.

    Raises:
        LeakError: It names the kinds, the counts, the first rows, and what to do.
        ConfigError: `allow` has an unknown kind.
    """
    leaks = find_leaks(dataset)
    allowed = dataset.facts.get(FACT, {}).get("allowed", []) if allow is None else checked_kinds(allow)
    failing = [leak for leak in leaks if leak.fails and leak.kind not in allowed]
    if failing:
        raise LeakError(_message(dataset, failing))
    return leaks


def checked_kinds(allow: Collection[str]) -> tuple[LeakKind, ...]:
    """The kinds by name.

    Raises:
        ConfigError: One is unknown.
    """
    if isinstance(allow, str):
        allow = [allow]
    for kind in allow:
        if kind not in KINDS:
            raise ConfigError(f"unknown kind of leak {kind!r}{did_you_mean(kind, KINDS)}")
    return tuple(kind for kind in KINDS if kind in allow)


def _message(dataset: SequenceDataset, failing: list[Leak]) -> str:
    kinds = list(dict.fromkeys(leak.kind for leak in failing))
    lines = [
        "the data gives away what a model is asked about, so that figures would be too good:",
        *(f"- {leak}" for leak in failing),
        f"Where that is known and harmless, prepare with allow_leaks={kinds!r} (--allow-leaks {','.join(kinds)})",
    ]
    return "\n".join(lines)


def leak_notes(dataset: SequenceDataset) -> tuple[str, ...]:
    """What the protocol says of leaks, in sentences.

    Raises:
        LeakError: It leaks.
    """
    leaks = check_leaks(dataset)
    allowed = [leak for leak in leaks if leak.fails]
    passed = [kind for kind in KINDS if kind not in {leak.kind for leak in allowed}]
    return (
        f"Leak checks passed: {', '.join(passed)}.",
        *(f"Leak allowed: {leak.kind}: {leak.sentence}." for leak in allowed),
        *(leak.sentence for leak in leaks if not leak.fails),
    )


def leak_warnings(dataset: SequenceDataset) -> list[str]:
    """All that was found, one sentence each; nothing fails."""
    return [str(leak) for leak in find_leaks(dataset)]


def write_findings(path: Path, leaks: Collection[Leak], allow: Collection[str]) -> None:
    """Keep in the manifest of a dataset what was found and allowed; the arrays and the fingerprint stay as they are."""
    manifest = json.loads((path / MANIFEST).read_text())
    told = {"allowed": list(checked_kinds(allow)), "found": [leak_facts(leak) for leak in leaks]}
    if manifest["facts"].get(FACT) == told:
        return
    manifest["facts"][FACT] = told
    partial = path / f"{MANIFEST}.partial"
    partial.write_text(json.dumps(manifest, indent=2))
    partial.replace(path / MANIFEST)


def leak_facts(leak: Leak) -> dict[str, object]:
    """A finding as JSON has it."""
    rows = [str(row) for row in leak.rows]
    return {
        "kind": leak.kind,
        "fails": leak.fails,
        "count": leak.count,
        "sentence": leak.sentence,
        "rows": rows,
    }
