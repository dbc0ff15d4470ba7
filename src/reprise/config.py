"""Specs: frozen dataclasses that describe a model or a training run and can be written as TOML or JSON.

This module has the `spec` decorator, conversion to and from plain dictionaries, TOML reading, and dotted overrides
such as `training.epochs=5`.
"""

import copy
import dataclasses
import functools
import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, dataclass_transform, get_args, overload

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from reprise.class_names import NAMES_CLASS, Trust, check_trusted, class_name, resolve
from reprise.errors import ConfigError, did_you_mean
from reprise.validation_messages import explain, join_path

CLASS = "class"
"""Key of a dictionary that names the class of the spec, as `module:Class`."""
T = TypeVar("T")
Data = dict[str, Any]


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def spec(cls: type[T], /) -> type[T]: ...
@overload
def spec(
    *, renamed: Mapping[str, str] = ..., before: Mapping[str, Any] = ...
) -> Callable[[type[T]], type[T]]: ...
def spec(
    cls: type[T] | None = None,
    /,
    *,
    renamed: Mapping[str, str] | None = None,
    before: Mapping[str, Any] | None = None,
) -> Any:
    """Decorate a class as a spec: a frozen dataclass whose fields are validated when it is created.

    Limits are written with pydantic's `Field`: `epochs: int = Field(default=10, ge=1)`. A field typed as a
    `Protocol`, `object` or `Any` may hold another spec. A wrong or unknown field raises `ConfigError`.

    Args:
        cls: The class, when the decorator is used without arguments.
        renamed: Former field names and their current names, such as `{"neighbors": "neighbours"}`. Dictionaries,
            TOML files and overrides may still use the former names; subclasses inherit them.
        before: Fields that were added later, with the value that means what the class did before. A stored spec without
            the field gets this value instead of the default (`from_dict(stored=True)`); subclasses inherit it.
    """
    if cls is not None:
        return _make_spec(cls, {}, {})
    return functools.partial(_make_spec, renamed=renamed or {}, before=before or {})


def _make_spec(cls: type[T], renamed: Mapping[str, str], before: Mapping[str, Any]) -> type[T]:
    if not isinstance(cls, type):
        raise ConfigError(f"@spec decorates a class, got {cls!r}")
    cls.__annotations__ = {name: _checkable(kind) for name, kind in inspect.get_annotations(cls).items()}
    decorated: Any = pydantic_dataclass(
        frozen=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    )(cls)
    # pydantic would later replace the __init__ of an incomplete class, and with it our messages
    assert decorated.__pydantic_complete__, (
        f"{cls.__qualname__}: define the types of its fields before the spec"
    )
    decorated.__init__ = _raise_config_errors(decorated.__init__)
    decorated.__reprise_spec__ = True
    decorated.__reprise_renamed__ = {**getattr(cls, "__reprise_renamed__", {}), **renamed}
    decorated.__reprise_before__ = {**getattr(cls, "__reprise_before__", {}), **before}
    fields = _field_names(decorated)
    assert all(name in fields for name in decorated.__reprise_before__), f"before={before!r} has other fields"
    assert all(new in fields and old not in fields for old, new in decorated.__reprise_renamed__.items()), (
        f"renamed={renamed!r} of {cls.__qualname__} must map names that are not fields to names that are"
    )
    result: type[T] = decorated
    return result


def is_spec(value: object) -> bool:
    """Return whether `value` is a spec or a spec class."""
    return getattr(value, "__reprise_spec__", False) is True


def short_name(value: Any) -> str:
    """Return a label for tables: the class, up to two fields that differ from their defaults, and how many more do."""
    fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    changed = [f"{name}={content}" for name, content in fields if content != field_default(type(value), name)]
    more = [f"+{len(changed) - 2}"] if len(changed) > 2 else []
    return " ".join([type(value).__name__, *changed[:2], *more])


def to_dict(value: Any) -> Data:
    """Return a spec as a plain dictionary for JSON or TOML, with its class first.

    A field that is None, and None by default, is omitted, because TOML cannot express None.

    Raises:
        ConfigError: A field is None but its default is not, so that omitting it would change its value.
    """
    assert is_spec(value), f"{value!r} is not a spec"
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for name, content in fields.items():
        if content is None and field_default(type(value), name) is not None:
            raise ConfigError(
                f"{name} of {class_name(value)} is None, which TOML cannot express, and omitting it would "
                f"restore its default; give {name} a value, or make None its default"
            )
    given = {name: to_plain(content) for name, content in fields.items() if content is not None}
    return {CLASS: class_name(value)} | given


def from_dict(
    data: Mapping[str, Any], default: type[T] | None = None, *, trusted: Trust = False, stored: bool = False
) -> Any:
    """Create the spec that a dictionary describes, as `to_dict` or a TOML file gives it.

    Args:
        data: The fields, and the class name under `class`. A nested spec is a nested dictionary.
        default: Class of the spec if `data` has no `class`.
        trusted: Whether classes outside this package may be imported, see `Trust`.
        stored: Whether the dictionary is from a run or a saved model, perhaps of a version before a field existed. Then a
            missing field has the value of `values_before`.

    Raises:
        ConfigError: A class or field is unknown (the message gives its path and the nearest known name), or a
            value is invalid.
    """
    return _build(data, default, _Reading(trusted, stored), path="")


def values_before(cls: type) -> dict[str, Any]:
    """Return the values of the fields of a class that were added later, by which it does what it did before."""
    values: dict[str, Any] = getattr(cls, "__reprise_before__", {})
    return values


def load_toml(path: str | Path) -> Data:
    """Read a TOML file.

    Raises:
        ConfigError: The file cannot be read, or is not valid TOML.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: its values are nested too deeply") from None


def apply_overrides(
    data: Mapping[str, Any], overrides: Iterable[str], default: type | None = None, *, trusted: Trust = False
) -> Data:
    """Return a copy of `data` with overrides such as `training.epochs=5` applied.

    Values are read as TOML. What is not valid TOML is text, so that `model.cell=gru` needs no quotes.

    Args:
        data: A spec as a dictionary, as `from_dict` reads it.
        overrides: Assignments `key=value`; a key is a dotted path to a field.
        default: Class of the spec if `data` has no `class`; needed to recognise the former names of its fields.
        trusted: Whether classes outside this package may be imported.

    Raises:
        ConfigError: An override has no `=`, or its path goes through a field that is not a section.
    """
    values = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not all(path.strip().split(".")):
            raise ConfigError(f"cannot read {override!r}; write key=value, for instance training.epochs=5")
        values[path.strip()] = toml_value(text.strip())
    return put_values(data, values, default, trusted=trusted)


def put_values(
    data: Mapping[str, Any], values: Mapping[str, Any], default: type | None = None, *, trusted: Trust = False
) -> Data:
    """Return a copy of `data` with values set at dotted paths, such as `training.epochs`.

    Former field names are replaced by the current ones on these paths, both in `data` and in `values`. So a
    value replaces the one in a file, whichever of the two names each uses. For the arguments see `apply_overrides`.

    Raises:
        ConfigError: A path goes through a field that is not a section, or a class cannot be imported.
    """
    changed = copy.deepcopy(dict(data))
    for path, value in values.items():
        keys = path.split(".")
        section, cls = changed, _class_of_section(changed, default, trusted)
        for depth, key in enumerate(keys[:-1], start=1):
            name = _use_current_name(section, cls, key, ".".join(keys[: depth - 1]))
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise ConfigError(
                    f"cannot set {path!r}: {'.'.join(keys[:depth])!r} is a value, not a section"
                )
            inner = _default_class(cls, name) if cls and name in _field_names(cls) else None
            cls = _class_of_section(section, inner, trusted)
        section[_use_current_name(section, cls, keys[-1], ".".join(keys[:-1]))] = value
    return changed


def _class_of_section(section: Data, default: type | None, trusted: Trust) -> type | None:
    cls = resolve(section[CLASS], trusted=trusted) if CLASS in section else default
    return cls if is_spec(cls) else None


def _use_current_name(section: Data, cls: type | None, key: str, path: str) -> str:
    """Return the current name of a field, and move the values of its former names in `section` there."""
    renamed = _renamed_fields(cls) if cls else {}
    name = renamed.get(key, key)
    for former in [old for old, new in renamed.items() if new == name and old in section]:
        _check_named_once(section, former, name, path)
        section[name] = section.pop(former)
    return name


def toml_value(text: str) -> Any:
    """Return the value that `text` has as TOML, or `text` itself if it is not valid TOML.

    Raises:
        ConfigError: The value is nested too deeply.
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except RecursionError:
        raise ConfigError(f"the value {text[:20]}... is nested too deeply") from None
    return parsed["value"] if len(parsed) == 1 else text


def _checkable(kind: Any) -> Any:
    """Return the type that pydantic can check: `Any` for a protocol that cannot be checked at run time."""
    only_static = getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)
    return Any if only_static else kind


def _raise_config_errors(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - replaces the generated one
        try:
            init(self, *args, **kwargs)
        except ValidationError as error:
            raise ConfigError(_explain(error, type(self), path="")) from None

    return __init__


def to_plain(value: Any) -> Any:
    """Convert a value for JSON or TOML: specs and mappings to dictionaries, tuples to lists, paths to text."""
    if is_spec(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    assert value is None or isinstance(value, (str, int, float)), f"{value!r} cannot be written as JSON"
    return value


class _Reading(NamedTuple):
    """How dictionaries are read; see `from_dict`."""

    trusted: Trust
    stored: bool


def _build(data: Mapping[str, Any], default: type | None, how: _Reading, path: str) -> Any:
    cls = resolve(data[CLASS], trusted=how.trusted) if CLASS in data else default
    if cls is None:
        raise ConfigError(
            f'{path or "the specification"} does not name its class; add class = "module:Class"'
        )
    if not (isinstance(cls, type) and is_spec(cls)):
        name = data.get(CLASS, class_name(cls))
        raise ConfigError(f"{name!r} is not a spec, so it cannot be created from a dictionary")
    values: Data = {}
    for key, value in data.items():
        if key != CLASS:
            name = _renamed_fields(cls).get(key, key)
            _check_known(cls, name, path)
            if name != key:
                _check_named_once({**data, **values}, key, name, path)
            if NAMES_CLASS in cls.__pydantic_fields__[name].metadata and ":" in str(value):  # type: ignore[attr-defined]
                check_trusted(str(value), how.trusted)
            values[name] = _nested(value, _default_class(cls, name), how, join_path(path, name))
    if how.stored:
        values = {**values_before(cls), **values}
    try:
        # not cls(**values), whose messages would lack the outer part of the path
        return cls.__pydantic_validator__.validate_python(values)  # type: ignore[attr-defined]
    except ValidationError as error:
        raise ConfigError(_explain(error, cls, path)) from None


def _nested(value: Any, default: type | None, how: _Reading, path: str) -> Any:
    if isinstance(value, Mapping) and (CLASS in value or default is not None):
        return _build(value, default, how, path)
    if isinstance(value, list):
        return [_nested(item, None, how, join_path(path, position)) for position, item in enumerate(value)]
    return value


def _default_class(cls: type, name: str) -> type | None:
    """Return the spec class of a field, from its type or its default value; None if neither determines it."""
    field = cls.__pydantic_fields__[name]  # type: ignore[attr-defined]
    by_type: list[type] = [kind for kind in (field.annotation, *get_args(field.annotation)) if is_spec(kind)]
    if by_type:
        return by_type[0] if len(by_type) == 1 else None
    value = field_default(cls, name)
    return type(value) if is_spec(value) else None


def field_default(cls: type, name: str) -> Any:
    """Return the default value of a field; for a required field, pydantic's `PydanticUndefined`."""
    return cls.__pydantic_fields__[name].get_default(call_default_factory=True)  # type: ignore[attr-defined]


def _field_names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _renamed_fields(cls: type) -> dict[str, str]:
    """Return the current name of each former field name of a spec."""
    renamed: dict[str, str] = cls.__reprise_renamed__  # type: ignore[attr-defined]
    return renamed


def _check_named_once(section: Mapping[str, Any], former: str, name: str, path: str) -> None:
    if name in section:
        raise ConfigError(
            f"{join_path(path, former)!r} is the former name of {join_path(path, name)!r}, and both are given; "
            f"remove {join_path(path, former)!r}"
        )


def _check_known(cls: type, key: str, path: str) -> None:
    names = _field_names(cls)
    if key not in names:
        known = [join_path(path, name) for name in names]
        raise ConfigError(
            f"unknown field {join_path(path, key)!r}{did_you_mean(join_path(path, key), known)}"
        )


def _explain(error: ValidationError, cls: type, path: str) -> str:
    return explain(error, cls.__name__, _field_names(cls), path, _renamed_fields(cls))
