"""Kinds of paths that commands take (log, dataset, run, search, model, model store), and messages for other paths."""

import json
from glob import escape
from pathlib import Path
from typing import Literal

from reprise.errors import command_line

Kind = Literal["dataset", "run", "search", "model", "store"]
MANIFESTS: dict[Kind, str] = {
    "dataset": "dataset.json",
    "run": "run.json",
    "search": "search.json",
    "model": "manifest.json",
    "store": "store.json",
}
"""Name of the file that each kind of directory has."""
NAMES: dict[Kind, str] = {
    "dataset": "a prepared dataset",
    "run": "a run",
    "search": "a search",
    "model": "a saved model",
    "store": "a model store",
}
"""Names of the kinds in messages."""
LOGS = (
    ".csv",
    ".tsv",
    ".txt",
    ".dat",
    ".inter",
    ".parquet",
    ".pq",
    ".jsonl",
    ".ndjson",
    ".json",
    ".gz",
    ".zst",
)
"""Suffixes of files that are probably event logs."""


def kind_of(path: Path) -> Kind | None:
    """Return the kind of a directory of this package; None for anything else."""
    return next((kind for kind, name in MANIFESTS.items() if (path / name).is_file()), None)


def instead(path: Path, wanted: Kind) -> str:
    """Return the end of the message for a path of the wrong kind: what is there in brackets, and what to do.

    >>> f"data/shop is not a run {instead(Path('data/shop'), 'run')}"
    'data/shop is not a run (it is a prepared dataset); train on it with `reprise train data/shop --out runs/shop`'
    """
    found = kind_of(path)
    return f"({_what(path, found, wanted)}); {_REMEDIES[wanted](path, found)}"


def _what(path: Path, found: Kind | None, wanted: Kind) -> str:
    if found is not None:
        return f"it is {NAMES[found]}"
    if not path.exists():
        return "it does not exist"
    if not path.is_dir():
        return "it is a file"
    return f"no {MANIFESTS[wanted]}" if any(path.iterdir()) else "it is an empty directory"


def _for_dataset(path: Path, found: Kind | None) -> str:
    if found is not None:
        known = _dataset_of(path / MANIFESTS[found])
        return (
            f"its dataset is {known}"
            if known
            else f"name the directory that `{_prepare('EVENTS', 'DATASET')}` wrote"
        )
    if not path.exists() and path.with_name(f"{path.name}.partial").is_dir():
        return f"its preparation is not finished: run the same `{_prepare('EVENTS', path)}` again"
    if path.is_file():
        name = path.name.lstrip(".").split(".")[0]
        return f"prepare the event log first: `{_prepare(path, Path('data') / name)}`"
    suffixes = sorted({file.suffix for file in path.iterdir()} & set(LOGS)) if path.is_dir() else []
    if suffixes:
        logs = Path(escape(str(path))) / f"*{suffixes[0]}"  # brackets in a name are not a pattern
        return f"prepare the event log first: `{_prepare(logs, Path('data') / path.resolve().name)}`"
    return f"make one with `{_prepare('EVENTS', path)}`"


def _for_run(path: Path, found: Kind | None) -> str:
    if found == "dataset":
        return f"train on it with `{_train(path, Path('runs') / path.resolve().name)}`"
    if found == "search":
        best = command_line(
            "reprise", "train", "DATASET", "--recipe", path / "best.toml", "--out", "runs/best"
        )
        return f"train its best recipe with `{best}`, or name a run in {path / 'trials'}"
    if found == "model" or path.is_file():
        return f"name the directory that `{_train('DATASET', 'RUN')}` wrote"
    return f"make one with `{_train('DATASET', path)}`"


def _for_model(path: Path, found: Kind | None) -> str:
    if found == "run":
        model = path.with_name(f"{path.name}.model") if path.name else Path("MODEL")
        return f"export it with `{_export(path, model)}`"
    if found in ("dataset", "search"):
        return f"{_for_run(path, found)}, then `{_export('RUN', 'MODEL')}`"
    return f"make one with `{_export('RUN', 'MODEL' if path.is_file() else path)}`"


def _for_store(path: Path, found: Kind | None) -> str:
    command = command_line(
        "reprise", "models", "publish", path if found is None and not path.is_file() else "STORE", "MODEL"
    )
    return f"make one with `{command}`"


def _for_search(path: Path, found: Kind | None) -> str:
    if found == "dataset":
        return f"search with `{_tune(path, Path('runs') / 'search')}`"
    if found is not None or path.is_file():
        return f"name the directory that `{_tune('DATASET', 'DIR')}` wrote"
    return f"`{_tune('DATASET', path)}` starts one or continues it"


_REMEDIES = {
    "dataset": _for_dataset,
    "run": _for_run,
    "search": _for_search,
    "model": _for_model,
    "store": _for_store,
}


def _dataset_of(manifest: Path) -> str | None:
    """Return the directory of the dataset that the manifest of a run or a search names."""
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))["dataset"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _prepare(events: object, out: object) -> str:
    return command_line("reprise", "prepare", events, "--out", out)


def _train(dataset: object, out: object) -> str:
    return command_line("reprise", "train", dataset, "--out", out)


def _tune(dataset: object, out: object) -> str:
    return command_line("reprise", "tune", dataset, "--out", out)


def _export(run: object, out: object) -> str:
    return command_line("reprise", "export", run, "--out", out)
