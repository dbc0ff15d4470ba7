"""Names on the command line to fitted baselines: a short name, `module:Class`, or a recipe file."""

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
    "cooccurrence": "reprise:Cooccurrence",
    "item-knn": "reprise:ItemKNN",
    "session-knn": "reprise:SessionKNN",
}
FORMER_NAMES = {"transitions": "cooccurrence"}
"""Short names of earlier versions, which are still accepted."""
HELP = (
    f"Baselines to put beside them: {', '.join(BASELINES)}, module:Class, "
    "or a recipe file whose [model] is one of these."
)


def fit_baseline(name: str, data: "SequenceDataset", *, typed: bool, trusted: bool) -> "Scorer":
    """A baseline, fitted to a dataset. See `find_baseline`."""
    return find_baseline(name, typed=typed, trusted=trusted).fit(data)


def find_baseline(name: str, *, typed: bool, trusted: bool) -> "Fittable":
    """What a name stands for.

    Args:
        name: A short name, `module:Class`, or a recipe file.
        typed: Whether a person typed it: then the class that it names may be any.
        trusted: Whether a recipe file, or a name that nobody typed, may name classes outside this package.

    Raises:
        ConfigError: It is unknown, or what it stands for cannot be fitted.
    """
    from reprise.class_names import resolve

    if name.endswith(".toml"):
        return _from_recipe(Path(name), trusted)
    name = FORMER_NAMES.get(name, name)
    if ":" not in name and name not in BASELINES:
        raise ConfigError(f"unknown baseline {name!r}{did_you_mean(name, BASELINES)}")
    found = resolve(BASELINES.get(name, name), trusted=typed or trusted)
    return _checked(found() if isinstance(found, type) and hasattr(found, "fit") else found, name)


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
