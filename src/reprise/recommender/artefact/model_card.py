"""The model card: a Markdown description of a saved model, made from its metadata. Unknown fields are marked as unknown."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from reprise.argument_checks import shown
from reprise.data.dataset import PARTS, SequenceDataset
from reprise.data.history_rules import HistoryRules
from reprise.data.timestamps import format_iso
from reprise.errors import ConfigError

LEFT_OUT = {
    "erased": "erased users, left out",
    "consent": "events without consent, left out",
}
"""Facts of a dataset about events that were left out of the training: those of erased users, and those without consent."""
HISTORY_RULES = "history"
"""Key of the history rules in the description of the data. Models of earlier formats do not have it."""
CORRECTIONS = "corrections"
"""Key of the names of the score corrections in use. Models of earlier formats do not have it."""
COUNTS = "counts"
"""Key of the facts about the counts of item pairs: `pair_users` if the model has any, `left_out` if they were removed.
Models of earlier formats do not have it."""
COOCCURRENCE, SIMILARITY = "co-occurrence with the last items", "similarity to the last items over sessions"
REPEATED = "repeats of the last items"
"""Names of the score corrections."""

AUDIT = "audit"
"""Key of the report of the audit in the metadata; it is the content of the JSON file of `reprise audit`."""

NOT_AUDITED = """\
No audit was made, so it is not known how much the files reveal about who was in the log. `reprise audit` measures it."""
AUDITED_COUNTS = "The audit attacked the run with its counts; this model was saved without them."
LOWER_BOUND = "An audit is a lower bound: it can show a leak, never its absence."

Metadata = Mapping[str, Any]

USE = """\
Given the items of one user or session, oldest first, the model ranks the items that may come next. It was trained on the log
described above. Evaluate it before you use it on other data."""

WITHOUT_GUARANTEE = """\
The files contain no events and no user keys. The vectors were learned from user events without a formal privacy guarantee."""

WITH_GUARANTEE = """\
The files contain no events and no user keys. The section about privacy states what the training guarantees and what not."""

COUNTS_REVEAL = """\
Counts reveal membership: a person who has the files and the history of a user can guess better than by chance whether the user
was in the log. `reprise export --no-counts` leaves them out."""

NO_COUNTS = "The files contain no counts of item pairs."

PRIVACY = "privacy"
"""Key of the statement of differential privacy; other models do not have it."""

LOAD = """\
```python
from reprise import Recommender

shop = Recommender.load("path/of/this/directory")
shop.recommend([{example!r}], k=10)
```

Loading verifies the checksum of every file and runs no code from the directory. It does not need torch."""


def describe_data(dataset: SequenceDataset) -> dict[str, Any]:
    """Return counts, dates, split and history rules of a dataset, for the metadata, without events and user keys."""
    description: dict[str, Any] = {
        "fingerprint": dataset.fingerprint,
        "sequences": len(dataset),
        "events": dataset.events,
        "items": len(dataset.items),
        "warm": dataset.items.warm,
        "kinds": list(dataset.kinds),
        "parts": {part: dataset.part_events(part) for part in PARTS},
        "split": dataset.split,
        HISTORY_RULES: HistoryRules.from_facts(dataset.facts).to_dict(),
        **left_out_facts(dataset.facts),
    }
    if dataset.events:
        description |= {
            "first": format_iso(int(dataset.time_ms.min())),
            "last": format_iso(int(dataset.time_ms.max())),
        }
    return description


def left_out_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the facts of a dataset say about erased users and consent, without the hash of the queue."""
    return {
        name: {key: fact for key, fact in facts[name].items() if key != "queue" and fact is not None}
        for name in LEFT_OUT
        if isinstance(facts.get(name), Mapping)
    }


class ReportLike(Protocol):
    """An evaluation report."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary with `name`, `metrics`, `targets`, `slices` and `protocol`."""
        ...


def correction_facts(network: Any) -> dict[str, Any]:
    """Return the facts about the score corrections of a network with the attributes `cooccurrence` and `repeat_head`."""
    counted, head = network.cooccurrence, network.repeat_head
    in_use = {
        COOCCURRENCE: counted is not None and bool(counted.gain.any()),
        SIMILARITY: counted is not None and bool(counted.cosine_gain.any()),
        REPEATED: head is not None and not head.is_zero,
    }
    if counted is not None:
        counts = {"pair_users": counted.pair_users}
    else:
        counts = {"left_out": True} if getattr(network, "left_out_counts", False) else {}
    return {CORRECTIONS: [name for name, use in in_use.items() if use], COUNTS: counts}


def report_facts(report: Any) -> dict[str, Any] | None:
    """Return an evaluation report as a dictionary for the metadata, given the report, its `to_dict` or None.

    Raises:
        ConfigError: it is something else.
    """
    if report is None:
        return None
    try:
        facts = dict(report.to_dict() if hasattr(report, "to_dict") else report)
        _results(facts)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ConfigError(
            f"report must be the result of evaluate, or the mapping of its to_dict, got {shown(report)}"
        ) from None
    return facts


def model_card(metadata: Metadata, created: str) -> str:
    """Return the model card as Markdown.

    Args:
        metadata: Metadata of the artefact: `name`, `spec`, `sizes` and `data`, and optionally `training`, `report`, `audit`
            and `attribution`.
        created: Time at which the artefact was written.
    """
    sections = {
        "Data": _data(metadata["data"], PRIVACY in metadata),
        "Training": _bullets(metadata["training"]) if metadata.get("training") else "Not recorded.",
        **({"Privacy": _privacy(metadata[PRIVACY])} if PRIVACY in metadata else {}),
        "Results": _results(metadata["report"]) if metadata.get("report") else "No evaluation was recorded.",
        "Privacy audit": _audit(metadata),
        "Intended use": USE,
        "Search": _search(metadata.get("search")),
        "Limits": _limits(metadata),
        "Attribution": _attribution(metadata.get("attribution", {})),
        "How to load it": LOAD.format(example=metadata["example"]),
    }
    head = f"# {metadata['name']}\n\nA next-item recommender made with Reprise, written on {created}.\n\n{_network(metadata)}\n"
    return head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items())


def _network(metadata: Metadata) -> str:
    fields = {"network": metadata["spec"].get("class", "unknown"), **_without_class(metadata["spec"])}
    if CORRECTIONS in metadata:
        fields["corrections of the scores"] = metadata[CORRECTIONS]
    return _bullets(fields)


def _data(data: Metadata, private: bool) -> str:
    if private:  # everything else depends on the events of users
        return _bullets(
            {"items": data["items"], "split": data["split"], "events, users and dates": "not stated"}
        )
    parts = ", ".join(f"{events} {part}" for part, events in data["parts"].items())
    fields = {
        "fingerprint": f"`{data['fingerprint']}`",
        "sequences": data["sequences"],
        "events": f"{data['events']} ({parts})",
        "items": f"{data['items']}, of which {data['warm']} occur in training",
        "kinds of event": ", ".join(data["kinds"]),
        "split": data["split"],
    }
    if "first" in data:
        fields["dates"] = f"{data['first']} to {data['last']}"
    return _bullets(fields | {words: data[name] for name, words in LEFT_OUT.items() if name in data})


def _results(report: Metadata) -> str:
    rows = [f"| {name} | {_interval(metric)} |" for name, metric in report["metrics"].items()]
    table = "\n".join(["| metric | value (interval) |", "|---|---|", *rows])
    return f"{table}\n\nMeasured on {report['targets']} targets, with this protocol:\n\n{_bullets(report['protocol'])}"


def _interval(metric: Metadata) -> str:
    if metric.get("low") is None or metric.get("high") is None:
        return f"{metric['value']:.4f}"
    return f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def _audit(metadata: Metadata) -> str:
    audit = metadata.get(AUDIT)
    if audit is None:
        return NOT_AUDITED
    without_counts = [AUDITED_COUNTS, ""] if metadata.get(COUNTS, {}).get("left_out") else []
    return "\n".join(
        [*without_counts, *_audit_attacks(audit), *_audit_canaries(audit.get("canaries")), "", LOWER_BOUND]
    )


def _audit_attacks(audit: Metadata) -> Iterator[str]:
    protocol, references = audit["protocol"], audit.get("references")
    yield (
        f"Attacks on membership: who was in the log? {protocol['members']} {protocol['unit']}s of the log and "
        f"{protocol['others']} others were judged by the losses of their last {protocol['targets']} training events. TPR is "
        "the share of the members that are found while the given share of the others is taken for members (FPR); AUC 0.5 is "
        "chance. In parentheses are 95 % intervals."
    )
    if references is None:
        yield "No reference model was used, so the attacks understate the risk."
    else:
        yield f"The calibrated attacks use {references['for_each_user']} reference models for each user."
    points = audit["attacks"][0]["points"]
    yield ""
    yield "| attack | AUC |" + "".join(f" TPR at {point['fpr']:.1%} FPR |" for point in points)
    yield "|---|---|" + "---|" * len(points)
    for attack in audit["attacks"]:
        rates = "".join(f" {_interval(point['tpr'])} |" for point in attack["points"])
        yield f"| {attack['name']} | {_interval(attack['auc'])} |{rates}"
    yield ""
    few = "; ".join(f"{point['fpr']:.1%} on {point['false_positives']}" for point in points)
    yield f"The false positive rates rest on few others: {few}."


def _audit_canaries(canaries: Metadata | None) -> Iterator[str]:
    if canaries is None:
        yield "No canaries were inserted."
        return
    yield (
        f"A copy of the run was trained with {canaries['inserted']} canaries, users of {canaries['events']} random items, and "
        f"{canaries['left_out']} were left out. Each was compared with {canaries['comparisons']} random sequences:"
    )
    yield ""
    for name, result in canaries["results"].items():
        exposure, bound = result["exposure"], result["epsilon"]
        yield (
            f"- losses of {name}: median exposure {exposure['0.5']:.1f} bits ({exposure['0.0']:.1f} to {exposure['1.0']:.1f}; "
            f"1 bit without memory); epsilon is at least {bound['epsilon']:.2f} at delta {bound['delta']:g} and "
            f"{bound['level']:.1%} confidence, and no more than {bound['largest']:.2f} could have been shown"
        )


def _search(facts: Metadata | None) -> str:
    if facts is None:
        return "Exact: a recommendation compares all items."
    return (
        f"Approximate: it found {facts['recall@20']:.1%} of the 20 best items of {facts['queries']} queries "
        f"({facts['histories']}). It reads {facts['read lists']} of {facts['lists']} lists and computes the exact scores of "
        f"{facts['candidates']} candidates. A filter that allows few items is searched exactly."
    )


def _privacy(statement: Metadata) -> str:
    """Return the statement of differential privacy."""
    return _bullets(statement)


def _limits(metadata: Metadata) -> str:
    data = metadata["data"]
    cold = data["items"] - data["warm"]
    further = "1 further known item has" if cold == 1 else f"{cold} further known items have"
    limits = [
        f"It recommends the {data['warm']} items of a public list."
        if PRIVACY in metadata
        else f"It recommends the {data['warm']} items that occur in the training part. {further} no vector: "
        "such items are not recommended, and events with them are skipped.",
        "Events of unknown items are skipped; the result says how many.",
        "For a history without a known item it recommends the most popular items of the training part.",
        "It learned from what users did while the log was recorded, which depends on what they were shown. "
        "It does not know their reasons.",
        WITH_GUARANTEE if PRIVACY in metadata else WITHOUT_GUARANTEE,
        *_counts(metadata),
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _counts(metadata: Metadata) -> list[str]:
    """Return the sentences about the counts of item pairs, as one limit; none if it is not known whether there are any."""
    if CORRECTIONS not in metadata:
        return []
    # models from before this fact counted the pairs of single users too
    has_counts = bool({COOCCURRENCE, SIMILARITY} & set(metadata[CORRECTIONS]))
    counts = metadata.get(COUNTS, {"pair_users": 1} if has_counts else {})
    users = counts.get("pair_users")
    if users is None:
        return [
            NO_COUNTS + (" They were left out when the model was saved." if counts.get("left_out") else "")
        ]
    who = "one user or more" if users == 1 else f"at least {users} different users"
    return [f"The files contain counts of item pairs, each pair made by {who}. {COUNTS_REVEAL}"]


def _attribution(attribution: Metadata) -> str:
    fields = ("data", "licence", "citation", "author", "contact")
    stated = {name: attribution.get(name, "not stated") for name in fields}
    return _bullets(stated | dict(attribution))


def _bullets(fields: Metadata) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {_plain(value)}" for name, value in fields.items())


def _plain(value: Any) -> str:
    """Return a value of the metadata as text in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(_plain(part) for part in value) or "none"
    return str(value)


def _without_class(spec: Metadata) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != "class"}
