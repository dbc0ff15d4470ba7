"""Search spaces: fields of a recipe, each with choices or with a range.

`model.size=32,64,128` has choices. `1..4`, `0..0.6` and `1e-4..1e-2:log` are ranges, and `0..0.6:0.1` is one with a step.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from reprise.config import field_default, from_dict, is_spec, put_values, to_dict, to_plain, toml_value
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.training.recipe import Recipe
from reprise.training.run_directory import flatten

SYNTAX = "write choices such as 32,64,128, or a range such as 0..0.6, 1..4 or 1e-4..1e-2:log"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(?::\s*(log|{_NUMBER})\s*)?")
_FIXED = {
    "training.metric": "trials with different metrics cannot be compared",
    "training.exclude_seen": "trials with different candidate items cannot be compared",
    "training.refit": "trials are compared before the refit",
}
"""Fields that cannot be searched, with the reason."""


def label(value: Any) -> Any:
    """Return a choice as a value that Optuna accepts: a spec as JSON text, anything else unchanged."""
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value, sort_keys=True)


@dataclass(frozen=True)
class Choices:
    """A list of values to choose from."""

    values: tuple[Any, ...]
    """The values, with specs as dictionaries."""

    def __post_init__(self) -> None:
        # the form that a file has, so that a space read from a file equals the original
        object.__setattr__(self, "values", tuple(map(to_plain, self.values)))
        if len({label(value) for value in self.values}) < max(2, len(self.values)):
            raise ConfigError(
                f"needs at least two different values, got {list(self.values)}; set a single value in the recipe"
            )

    def endpoints(self) -> tuple[Any, ...]:
        """Return the values to check before the search: all of them."""
        return self.values

    def to_plain(self) -> Any:
        """Return the choices as a value for JSON or TOML."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A range of numbers. If both ends are integers and the field takes only integers, so are the values."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether values are drawn uniformly in the logarithm."""
    step: float | None = None
    """Distance between consecutive values; None allows any value."""

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ConfigError(f"{self.to_plain()} is not a range: the low end must be below the high end")
        if self.log and self.low <= 0:
            raise ConfigError(f"{self.to_plain()}: a logarithmic range must begin above 0")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ConfigError(
                f"{self.to_plain()}: the step must be above 0 and at most the width of the range"
            )

    @property
    def is_integer(self) -> bool:
        """Whether all values are integers."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    def endpoints(self) -> tuple[float, float]:
        """Return the values to check before the search: both ends."""
        return self.low, self.high

    def to_plain(self) -> Any:
        """Return the range as text for JSON or TOML."""
        end = ":log" if self.log else "" if self.step is None else f":{self.step!r}"
        return f"{self.low!r}..{self.high!r}{end}"


Space = dict[str, Choices | Range]
"""Choices or a range for each dotted field of a recipe, such as `model.size`."""

_DEFAULTS: Space = {
    "size": Choices((64, 128, 256)),
    "layers": Range(1, 3),
    "dropout": Range(0.0, 0.6),
    "item_dropout": Range(0.0, 0.6),
    "temperature": Range(0.04, 0.2, log=True),
    "latent": Choices((64, 128, 256)),
    "beta": Range(2e-4, 2e-2, log=True),
}
"""Default choices and ranges for fields of a model spec."""
_LEARNING_RATES = Range(5e-4, 1.6e-2, log=True)


def parse_space(written: Mapping[str, Any]) -> Space:
    """Return the space of dotted fields or TOML sections with choices (a list or text) or ranges (text).

    Raises:
        ConfigError: A value is neither choices nor a range.
    """
    space: Space = {}
    for field, value in flatten(written).items():
        try:
            space[field] = value if isinstance(value, (Choices, Range)) else _parse(value)
        except ConfigError as error:
            raise ConfigError(f"space of {field}: {error}") from None
    return space


def parse_options(options: Iterable[str]) -> dict[str, str]:
    """Return the fields and texts of options such as `model.size=32,64`.

    Raises:
        ConfigError: An option has no `=`.
    """
    written = {}
    for option in options:
        field, equals, text = option.partition("=")
        if not (equals and field.strip() and text.strip()):
            raise ConfigError(
                f"cannot read {option!r}; write field=values, for instance model.size=32,64,128"
            )
        written[field.strip()] = text.strip()
    return written


def plain_space(space: Space) -> dict[str, Any]:
    """Return a space as values for JSON or TOML, which `parse_space` reads."""
    return {field: part.to_plain() for field, part in space.items()}


def default_space(recipe: Recipe) -> Space:
    """Return the default space of a recipe: the common fields of its model, except those that the recipe sets.

    Raises:
        ConfigError: The model has none of these fields.
    """
    path, model = _inner_model(recipe.model)
    free = _fields_with_defaults(model)
    if not getattr(model, "residual", True):
        free.discard("temperature")  # networks without residual blocks use inner products, not cosines
    space = {f"{path}.{name}": part for name, part in _DEFAULTS.items() if name in free}
    if hasattr(model, "build") and "learning_rate" in _fields_with_defaults(recipe.training):
        space["training.learning_rate"] = _LEARNING_RATES
    if not space:
        names = ", ".join(f"{path}.{field.name}" for field in fields(model)) or "none"
        raise ConfigError(
            f"{type(model).__name__} has no default space with this recipe; name the fields to search with --space or space= "
            f"(its fields: {names})"
        )
    return space


def current_name(recipe: Recipe, field: str) -> str:
    """Return the current name of a dotted field of a recipe, which may be written with a former name."""
    marker = object()
    values = flatten(put_values(to_dict(recipe), {field: marker}, trusted=True))
    return next((name for name, value in values.items() if value is marker), field)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a copy of a recipe with values at dotted fields.

    Raises:
        ConfigError: A field is unknown, or its spec rejects the value.
    """
    made: Recipe = from_dict(put_values(to_dict(recipe), values, trusted=True), trusted=True)
    return made


def resolve_space(space: Space, recipe: Recipe, sizes: Sizes) -> Space:
    """Return the space with current field names, after checking that each choice and range end can be built.

    An integer range for a field that takes fractions becomes a range of fractions.

    Raises:
        ConfigError: A field is unknown or cannot be searched, or a value is invalid. The message names the field.
    """
    small = replace(sizes, items=min(sizes.items, 2))
    resolved: Space = {}
    for written, part in space.items():
        try:
            field = current_name(recipe, written)
        except ConfigError as error:
            raise ConfigError(f"space of {written}: {error}") from None
        if field in _FIXED:
            raise ConfigError(f"{field} cannot be searched: {_FIXED[field]}; set it in the recipe")
        if isinstance(part, Range) and part.is_integer and _takes_fractions(recipe, field, part):
            part = replace(part, low=float(part.low), high=float(part.high))
        for value in part.endpoints():
            try:
                _check_builds(with_values(recipe, {field: value}), small)
            except ConfigError as error:
                raise ConfigError(f"space of {field}: {error}") from None
        resolved[field] = part
    return resolved


def _parse(value: Any) -> Choices | Range:
    if isinstance(value, (list, tuple)):
        return Choices(tuple(value))
    if not isinstance(value, str):
        raise ConfigError(f"{value!r} is neither choices nor a range; {SYNTAX}")
    match = _RANGE.fullmatch(value)
    if match:
        low, high = _number(match[1]), _number(match[2])
        step = None if match[3] in (None, "log") else _number(match[3])
        return Range(low, high, log=match[3] == "log", step=step)
    if ".." in value or "," not in value:
        raise ConfigError(f"cannot read {value!r}; {SYNTAX}")
    listed = toml_value(f"[{value}]")
    if isinstance(listed, list):
        return Choices(tuple(listed))
    return Choices(tuple(toml_value(word.strip()) for word in value.split(",")))


def _number(text: str) -> float:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


def _inner_model(model: Any, path: str = "model") -> tuple[str, Any]:
    """Return the path and the spec of the innermost network, for instance of the member of an ensemble."""
    for name in [field.name for field in fields(model)] if is_spec(model) else []:
        inner = getattr(model, name)
        if is_spec(inner) and hasattr(inner, "build"):
            return _inner_model(inner, f"{path}.{name}")
    return path, model


def _fields_with_defaults(spec: Any) -> set[str]:
    """Return the names of the fields of a spec that have their default value."""
    if not is_spec(spec):
        return set()
    return {
        field.name
        for field in fields(spec)
        if getattr(spec, field.name) == field_default(type(spec), field.name)
    }


def _takes_fractions(recipe: Recipe, field: str, part: Range) -> bool:
    try:
        with_values(recipe, {field: part.low + 0.5})
    except ConfigError:
        return False
    return True


def _check_builds(recipe: Recipe, sizes: Sizes) -> None:
    """Build the network for a tiny catalogue, to find errors that the spec reports only when it is built."""
    if hasattr(recipe.model, "build"):
        recipe.model.build(sizes)
