"""What a search may change: fields of a recipe, each with choices or a range, as data.

`model.size=32,64,128` are choices; `1..4`, `0..0.6` and `1e-4..1e-2:log` are ranges, `0..0.6:0.1` one in steps.
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

HOW = "write choices, as in 32,64,128, or a range, as in 0..0.6, 1..4 or 1e-4..1e-2:log"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(?::\s*(log|{_NUMBER})\s*)?")
_FIXED = {
    "training.metric": "it is what the search judges by",
    "training.exclude_seen": "it is part of how the search judges",
    "training.refit": "the last passes come when the validation part has judged",
}


def label(value: Any) -> Any:
    """A choice as one word or number: a spec in a choice becomes its JSON."""
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value, sort_keys=True)


@dataclass(frozen=True)
class Choices:
    """One of some values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        # as a file gives them back
        object.__setattr__(self, "values", tuple(map(to_plain, self.values)))
        if len({label(value) for value in self.values}) < max(2, len(self.values)):
            raise ConfigError(
                f"needs two different values at least, got {list(self.values)}; one value is no search"
            )

    def corners(self) -> tuple[Any, ...]:
        """The values that are tried out before the search begins: all."""
        return self.values

    def plain(self) -> Any:
        """As it may be written in JSON or TOML."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A number between two, both included: whole where both are whole (and the field takes no others)."""

    low: float
    high: float
    log: bool = False
    """Whether equal factors, not equal differences, are equally likely."""
    step: float | None = None
    """The distance of the values from each other; none: any."""

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ConfigError(f"{self.plain()} is no range: its low end must be below its high end")
        if self.log and self.low <= 0:
            raise ConfigError(f"{self.plain()}: a range of equal factors (log) begins above 0")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ConfigError(f"{self.plain()}: the step must be above 0 and fit into the range")

    @property
    def whole(self) -> bool:
        """Whether all its values are whole numbers."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    def corners(self) -> tuple[float, float]:
        """The values that are tried out before the search begins: the ends."""
        return self.low, self.high

    def plain(self) -> Any:
        """As it may be written in JSON or TOML."""
        end = ":log" if self.log else "" if self.step is None else f":{self.step!r}"
        return f"{self.low!r}..{self.high!r}{end}"


Space = dict[str, Choices | Range]
"""By dotted field of a recipe, such as `model.size`."""

_USUAL: Space = {
    "size": Choices((64, 128, 256)),
    "layers": Range(1, 3),
    "dropout": Range(0.0, 0.6),
    "item_dropout": Range(0.0, 0.6),
    "temperature": Range(0.04, 0.2, log=True),
    "latent": Choices((64, 128, 256)),
    "beta": Range(2e-4, 2e-2, log=True),
}
"""What is searched where nothing is said, of what the model has."""
_RATE = Range(5e-4, 1.6e-2, log=True)


def parse_space(written: Mapping[str, Any]) -> Space:
    """A space from dotted fields, or sections as TOML has them, with choices (a list or text) or ranges (text).

    Raises:
        ConfigError: something is neither.
    """
    space: Space = {}
    for field, value in flatten(written).items():
        try:
            space[field] = value if isinstance(value, (Choices, Range)) else _parse(value)
        except ConfigError as error:
            raise ConfigError(f"space of {field}: {error}") from None
    return space


def parse_options(options: Iterable[str]) -> dict[str, str]:
    """Fields with their texts, from `model.size=32,64` and the like.

    Raises:
        ConfigError: one has no `=`.
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
    """A space for JSON or TOML; `parse_space` reads it again."""
    return {field: part.plain() for field, part in space.items()}


def default_space(recipe: Recipe) -> Space:
    """What is searched where nothing is said: the usual fields that the model has and the recipe leaves alone.

    Raises:
        ConfigError: it has none of them.
    """
    place, model = _inner(recipe.model)
    free = _untouched(model)
    if not getattr(model, "residual", True):
        free.discard("temperature")  # bare networks compare by inner product
    space = {f"{place}.{name}": part for name, part in _USUAL.items() if name in free}
    if hasattr(model, "build") and "learning_rate" in _untouched(recipe.training):
        space["training.learning_rate"] = _RATE
    if not space:
        names = ", ".join(f"{place}.{field.name}" for field in fields(model)) or "none"
        raise ConfigError(
            f"no space is known for {type(model).__name__} as the recipe has it; say what to search, with --space or space= "
            f"(its fields: {names})"
        )
    return space


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with values put in at dotted fields.

    Raises:
        ConfigError: an unknown field, or a value that its spec refuses.
    """
    made: Recipe = from_dict(put_values(to_dict(recipe), values, trusted=True), trusted=True)
    return made


def settle_space(space: Space, recipe: Recipe, sizes: Sizes) -> Space:
    """The space as it is searched: each field is known, each choice and each end of a range can be built.

    A range between whole numbers for a field that takes fractions becomes one of fractions.

    Raises:
        ConfigError: it is not so; the message names the field.
    """
    small = replace(sizes, items=min(sizes.items, 2))
    settled: Space = {}
    for field, part in space.items():
        if field in _FIXED:
            raise ConfigError(f"{field} cannot be searched: {_FIXED[field]}; set it in the recipe")
        if isinstance(part, Range) and part.whole and _takes_fractions(recipe, field, part):
            part = replace(part, low=float(part.low), high=float(part.high))
        for value in part.corners():
            try:
                _try_out(changed(recipe, {field: value}), small)
            except ConfigError as error:
                raise ConfigError(f"space of {field}: {error}") from None
        settled[field] = part
    return settled


def _parse(value: Any) -> Choices | Range:
    if isinstance(value, (list, tuple)):
        return Choices(tuple(value))
    if not isinstance(value, str):
        raise ConfigError(f"{value!r} is neither choices nor a range; {HOW}")
    match = _RANGE.fullmatch(value)
    if match:
        low, high = _number(match[1]), _number(match[2])
        step = None if match[3] in (None, "log") else _number(match[3])
        return Range(low, high, log=match[3] == "log", step=step)
    if ".." in value or "," not in value:
        raise ConfigError(f"cannot read {value!r}; {HOW}")
    listed = toml_value(f"[{value}]")
    if isinstance(listed, list):
        return Choices(tuple(listed))
    return Choices(tuple(toml_value(word.strip()) for word in value.split(",")))


def _number(text: str) -> float:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


def _inner(model: Any, place: str = "model") -> tuple[str, Any]:
    """The network itself, and its place, where a spec holds another: the member of an ensemble, say."""
    for name in [field.name for field in fields(model)] if is_spec(model) else []:
        held = getattr(model, name)
        if is_spec(held) and hasattr(held, "build"):
            return _inner(held, f"{place}.{name}")
    return place, model


def _untouched(spec: Any) -> set[str]:
    """The fields of a spec that hold their default."""
    if not is_spec(spec):
        return set()
    return {
        field.name
        for field in fields(spec)
        if getattr(spec, field.name) == field_default(type(spec), field.name)
    }


def _takes_fractions(recipe: Recipe, field: str, part: Range) -> bool:
    try:
        changed(recipe, {field: part.low + 0.5})
    except ConfigError:
        return False
    return True


def _try_out(recipe: Recipe, sizes: Sizes) -> None:
    """Build the network for next to no items, so that what its spec finds out only then is found out now."""
    if hasattr(recipe.model, "build"):
        recipe.model.build(sizes)
