"""Names on the command line to fitted baselines: a short name, `module:Class`, or a recipe file."""

from collections.abc import Iterator
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


def fit_baselines(names: str, data: "SequenceDataset", *, trusted: bool = False) -> "list[Scorer]":
    """The baselines of a list with commas, fitted to a dataset.

    Args:
        names: As a person typed them. A class that is named here may be any; its name was typed.
        data: What they are fitted to.
        trusted: Whether a recipe file may name classes outside this package.

    Raises:
        ConfigError: A name is unknown, or what it stands for cannot be fitted; told before any of them is fitted.
    """
    return [baseline.fit(data) for baseline in list(_baselines(names, trusted))]


def _baselines(names: str, trusted: bool) -> "Iterator[Fittable]":
    from reprise.config import resolve

    for name in filter(None, map(str.strip, names.split(","))):
        if name.endswith(".toml"):
            yield _from_recipe(Path(name), trusted)
        elif ":" in name or name in BASELINES:
            found = resolve(BASELINES.get(name, name), trusted=True)
            yield _checked(found() if isinstance(found, type) and hasattr(found, "fit") else found, name)
        else:
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
