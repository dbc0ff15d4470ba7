"""Baselines named on the command line: by a short name, as `module:Class`, or by a recipe file."""

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
    "content-knn": "reprise:ContentKNN",
    "content-cooccurrence": "reprise:ContentCooccurrence",
}
"""Short names of the built-in baselines and their classes."""
READ_CONTENT = ("content-knn", "content-cooccurrence")
"""Short names of the baselines that need an item table."""
ALL = "all"
"""Name for all built-in baselines that can be fitted to a dataset."""
FORMER_NAMES = {"transitions": "cooccurrence"}
"""Short names of earlier versions, which are still accepted."""
HELP = (
    f"Baselines to compare with: {', '.join(BASELINES)}, module:Class, "
    f"a recipe file whose [model] is one of these, or {ALL} for all built-in ones that suit the dataset."
)
"""Help text of the option `--baselines`."""


def expand_all(names: list[str], data: "SequenceDataset") -> list[str]:
    """Replace the name `all` by the built-in baselines; those that read content only if a column describes an item."""
    from reprise.content.column_detection import detect_columns

    if ALL not in names:
        return names
    # columns that only later items have cannot be fitted
    has_content = bool(detect_columns(data.table.slice(0, data.items.warm)))
    found = [name for name in BASELINES if has_content or name not in READ_CONTENT]
    return list(dict.fromkeys([*(name for name in names if name != ALL), *found]))


def fit_baseline(name: str, data: "SequenceDataset", *, typed: bool, trusted: bool) -> "Scorer":
    """Find a baseline by its name and fit it to a dataset. For the arguments and errors see `find_baseline`."""
    return find_baseline(name, typed=typed, trusted=trusted).fit(data)


def find_baseline(name: str, *, typed: bool, trusted: bool) -> "Fittable":
    """Return the spec of the baseline with this name.

    Args:
        name: A short name, `module:Class`, or a recipe file.
        typed: Whether the user typed the name. Then it may be a class outside this package.
        trusted: Whether a recipe file, or a name from another file, may name classes outside this package.

    Raises:
        ConfigError: The name is unknown, or its class has no method `fit`.
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
    """Return the spec in the [model] section of a recipe file; other sections are ignored."""
    from reprise.config import from_dict, load_toml

    model = load_toml(file).get("model", {})
    if not isinstance(model, dict):
        raise ConfigError(f"{file}: model is {model!r}; write it as a section, [model]")
    return _checked(from_dict(model, trusted=trusted), str(file))


def _checked(baseline: object, name: str) -> "Fittable":
    """Return the baseline if it is a spec that can be fitted."""
    from reprise.models.scorer import Fittable

    if isinstance(baseline, type) or not isinstance(baseline, Fittable):
        raise ConfigError(
            f"{name!r} is not a baseline, because it has no method fit; "
            "train a network with `reprise train` and pass the run directory instead"
        )
    return baseline
