"""The model card of an artefact: what the files know about themselves, for a person. It says nothing that is not known."""

from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]

USE = """\
Given the items of one person or visit, oldest first, it ranks the items that may come next. It was trained on the log
described above and knows nothing about anything else; on other data, evaluate it first."""

HOLDS = """\
It holds no event and no key of a user. Its vectors were learned from their events without a formal guarantee of privacy."""

LOAD = """\
```python
from reprise import Recommender

shop = Recommender.load("path/of/this/directory")
shop.recommend([{example!r}], k=10)
```

Loading verifies the checksum of every file and runs no code from the directory. No torch is needed."""


def card(facts: Facts, created: str) -> str:
    """The card as Markdown.

    Args:
        facts: What the manifest holds: `name`, `spec`, `sizes`, `data`, and perhaps `training`, `report`, `attribution`.
        created: When the artefact was written.
    """
    sections = {
        "Data": _data(facts["data"]),
        "Training": _bullets(facts["training"]) if facts.get("training") else "Not recorded.",
        "Results": _results(facts["report"]) if facts.get("report") else "No evaluation was recorded.",
        "Intended use": USE,
        "Limits": _limits(facts["data"]),
        "Attribution": _attribution(facts.get("attribution", {})),
        "How to load it": LOAD.format(example=facts["example"]),
    }
    head = f"# {facts['name']}\n\nA next-item recommender made with Reprise, written on {created}.\n\n{_network(facts)}\n"
    return head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items())


def _network(facts: Facts) -> str:
    return _bullets({"network": facts["spec"].get("class", "unknown"), **_without_class(facts["spec"])})


def _data(data: Facts) -> str:
    parts = ", ".join(f"{events} {part}" for part, events in data["parts"].items())
    told = {
        "fingerprint": f"`{data['fingerprint']}`",
        "sequences": data["sequences"],
        "events": f"{data['events']} ({parts})",
        "items": f"{data['items']}, of which {data['warm']} occur in training",
        "kinds of event": ", ".join(data["kinds"]),
        "split": data["split"],
    }
    if "first" in data:
        told["dates"] = f"{data['first']} to {data['last']}"
    return _bullets(told)


def _results(report: Facts) -> str:
    rows = [f"| {name} | {_interval(metric)} |" for name, metric in report["metrics"].items()]
    table = "\n".join(["| metric | value (interval) |", "|---|---|", *rows])
    return f"{table}\n\nOver {report['targets']} targets. How they were measured:\n\n{_bullets(report['protocol'])}"


def _interval(metric: Facts) -> str:
    if metric.get("low") is None or metric.get("high") is None:
        return f"{metric['value']:.4f}"
    return f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def _limits(data: Facts) -> str:
    cold = data["items"] - data["warm"]
    further = "1 further known item has" if cold == 1 else f"{cold} further known items have"
    limits = [
        f"It can answer with the {data['warm']} items that occur in the training part; "
        f"{further} no vector, and can be neither answered nor read.",
        "Events of unknown items are skipped; the answer counts them.",
        "Without a known event it answers with the most popular items of the training part.",
        "It learned what people did where and when the log was recorded, including what they were shown; "
        "it does not know why.",
        HOLDS,
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _attribution(attribution: Facts) -> str:
    fields = ("data", "licence", "citation", "author", "contact")
    told = {name: attribution.get(name, "not stated") for name in fields}
    return _bullets(told | dict(attribution))


def _bullets(facts: Facts) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {_plain(value)}" for name, value in facts.items())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
        return f"{inner}" if inner else "none"
    if isinstance(value, list | tuple):
        return "; ".join(_plain(part) for part in value) or "none"
    return str(value)


def _without_class(spec: Facts) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != "class"}
