"""Names on the command line to fitted baselines: a short name, `module:Class`, or a recipe file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.models.scorer import Fittable, Scorer

BASELINES = {
    "popularity": "reprise:Popularity",
    "recent-popularity": "reprise:RecentPopularity",
    "session-popularity": "reprise:SessionPopularity",
    "markov": "reprise:Markov",
    "transitions": "reprise:Transitions",
    "item-knn": "reprise:ItemKNN",
    "session-knn": "reprise:SessionKNN",
}
HELP = (
    f"Baselines to put beside them: {', '.join(BASELINES)}, module:Class, "
    "or a recipe file whose [model] is one of these."
)


@dataclass(frozen=True)
class Trust:
    """Whose code outside this package may be run."""

    typed: bool = True
    """That of a class named by itself. A person who typed the name has said so; a report that names it has not."""
    files: bool = False
    """That of a class named in a recipe file."""


def fit_baselines(names: str, data: "SequenceDataset", *, trusted: bool = False) -> "list[Scorer]":
    """The baselines of a list with commas, fitted to a dataset.

    Args:
        names: As a person typed them. A class that is named here may be any; its name was typed.
        data: What they are fitted to.
        trusted: Whether a recipe file may name classes outside this package.

    Raises:
        ConfigError: A name is unknown, or what it stands for cannot be fitted; told before any of them is fitted.
    """
    split = list(filter(None, map(str.strip, names.split(","))))
    return [baseline.fit(data) for baseline in check_baselines(split, Trust(files=trusted))]


def fit_baseline(name: str, data: "SequenceDataset", trust: Trust) -> "Scorer":
    """One baseline, fitted to a dataset. See `fit_baselines`."""
    return _named(name, trust).fit(data)


def check_baselines(names: Iterable[str], trust: Trust) -> "list[Fittable]":
    """Baselines by their names, none of them fitted. See `fit_baselines`."""
    return [_named(name, trust) for name in names]


def _named(name: str, trust: Trust) -> "Fittable":
    from reprise.config import resolve

    if name.endswith(".toml"):
        return _from_recipe(Path(name), trust.files)
    if ":" in name or name in BASELINES:
        found = resolve(BASELINES.get(name, name), trusted=trust.typed)
        return _checked(found() if isinstance(found, type) and hasattr(found, "fit") else found, name)
    raise ConfigError(f"unknown baseline {name!r}{did_you_mean(name, BASELINES)}")


def _from_recipe(file: Path, trusted: bool) -> "Fittable":
    """The model of a recipe file; its other sections, if any, are for networks."""
    from reprise.config import from_dict, load_toml

    model = load_toml(file).get("model", {})
    if not isinstance(model, dict):
        raise ConfigError(f"{file}: model is {model!r} and must be a section, [model]")
    return _checked(from_dict(model, trusted=trusted), str(file))


def _checked(baseline: object, name: str) -> "Fittable":
    from reprise.models.scorer import Fittable

    if isinstance(baseline, type) or not isinstance(baseline, Fittable):
        raise ConfigError(
            f"{name!r} is no baseline: it is no class with a method fit; "
            "a network is trained with `reprise train` and named as a run"
        )
    return baseline
