"""Specs are validated on creation, survive dictionaries and TOML files, and name the path of a wrong field."""

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from reprise.config import (
    apply_overrides,
    from_dict,
    is_spec,
    load_toml,
    short_name,
    spec,
    to_dict,
)
from reprise.errors import ConfigError


class Buildable(Protocol):
    def build(self) -> int: ...


@spec
class Cell:
    kind: Literal["gru", "lstm"] = "gru"
    size: int = Field(default=128, ge=1)

    def build(self) -> int:
        return self.size


@spec
class Training:
    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    clip: float | None = None
    at: tuple[int, ...] = (10, 20)

    def __post_init__(self) -> None:
        if self.epochs == 13:
            raise ConfigError("13 epochs are not allowed; use 12")


@spec
class Plan:
    model: Buildable = field(default_factory=Cell)
    training: Training = field(default_factory=Training)
    anything: Any = None
    note: str = ""


@spec(before={"depth": 1})
class Deepened:
    """A class that had one layer before it had the field `depth`."""

    depth: int = 3


def message_of(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


def build(data: dict[str, Any], **options: Any) -> Any:
    return from_dict(data, Plan, **options)


def test_a_spec_is_frozen_compares_by_value_and_can_be_replaced() -> None:
    assert is_spec(Cell)
    assert is_spec(Cell())
    assert not is_spec(dict)
    assert Cell(size=3) == Cell("gru", 3) != Cell(size=4)
    assert replace(Cell(), size=7).size == 7
    with pytest.raises(FrozenInstanceError):
        Cell().size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(leraning_rate=1), "unknown field 'leraning_rate'; did you mean 'learning_rate'?"),
        (lambda: Training(epochs=0), "epochs must be at least 1, got 0"),
        (lambda: Training(0), "epochs must be at least 1, got 0"),
        (lambda: Training(learning_rate=0), "learning_rate must be above 0, got 0"),
        (lambda: Training(learning_rate=float("nan")), "learning_rate must be a finite number, got nan"),
        (lambda: Training(epochs=2.5), "epochs must be a whole number, got 2.5"),
        (lambda: Training(epochs="many"), "epochs must be a whole number, got 'many'"),
        (lambda: Training(at=["x"]), "at, entry 1 must be a whole number, got 'x'"),
        (lambda: Training(epochs=13), "13 epochs are not allowed; use 12"),
        (lambda: Cell(kind="gur"), "kind must be 'gru' or 'lstm', got 'gur'; did you mean 'gru'?"),
        (lambda: Cell(kind="attention"), "kind must be 'gru' or 'lstm', got 'attention'"),
        (lambda: Cell("gru", 1, 2), "Cell takes 2 fields at most, got 2 as well"),
        (lambda: Plan(training=3), "training must be of class Training, got 3"),
        (
            lambda: Training(epochs=0, learning_rate=-1),
            "epochs must be at least 1, got 0\nlearning_rate must be above 0, got -1",
        ),
    ],
)
def test_a_wrong_field_gives_a_one_line_message(make: Callable[[], object], message: str) -> None:
    assert message_of(make) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"training": {"epochs": 0}}, "training.epochs must be at least 1, got 0"),
        ({"training": {"epochs": 13}}, "training: 13 epochs are not allowed; use 12"),
        (
            {"training": {"leraning_rate": 1}},
            "unknown field 'training.leraning_rate'; did you mean 'training.learning_rate'?",
        ),
        ({"trainign": {}}, "unknown field 'trainign'; did you mean 'training'?"),
        ({"model": {"sise": 3}}, "unknown field 'model.sise'; did you mean 'model.size'?"),
        ({"training": {"class": f"{__name__}:Cell"}}, "training must be of class Training, got Cell("),
    ],
)
def test_a_wrong_field_in_a_dictionary_is_named_with_its_full_path(
    data: dict[str, Any], message: str
) -> None:
    assert message_of(lambda: build(data, trusted=True)).startswith(message)


def test_a_dictionary_without_a_class_is_refused() -> None:
    expected = 'the specification does not name its class; add class = "module:Class"'
    assert message_of(lambda: from_dict({"epochs": 3})) == expected


def test_to_dict_starts_with_the_class_and_omits_none() -> None:
    data = to_dict(Training(epochs=3))
    assert next(iter(data.items())) == ("class", f"{__name__}:Training")
    assert data == {"class": f"{__name__}:Training", "epochs": 3, "learning_rate": 1e-3, "at": [10, 20]}


@spec
class Clipped:
    clip: float | None = 1.0


def test_to_dict_refuses_none_when_the_default_is_not_none() -> None:
    assert message_of(lambda: to_dict(Clipped(clip=None))) == (
        f"clip of {__name__}:Clipped is None, which TOML cannot express, and omitting it would "
        "restore its default; give clip a value, or make None its default"
    )


@given(
    epochs=st.integers(14, 10**6),
    rate=st.floats(1e-9, 1e9),
    clip=st.none() | st.floats(-1e9, 1e9),
    size=st.integers(1, 10**6),
    nested=st.booleans(),
)
def test_a_spec_is_equal_after_json(
    epochs: int, rate: float, clip: float | None, size: int, nested: bool
) -> None:
    plan = Plan(Cell(size=size), Training(epochs, rate, clip), [Cell(), 1] if nested else {"key": "value"})
    assert from_dict(json.loads(json.dumps(to_dict(plan))), trusted=True) == plan


def test_the_class_may_be_omitted_if_the_type_or_default_determines_it() -> None:
    assert build({"model": {"size": 5}, "training": {"epochs": 2}}) == Plan(Cell(size=5), Training(2))


def test_from_dict_refuses_a_class_that_is_not_a_spec() -> None:
    expected = "'reprise.errors:DataError' is not a spec, so it cannot be created from a dictionary"
    assert message_of(lambda: from_dict({"class": "reprise.errors:DataError"})) == expected


def test_load_toml_reads_toml_and_refuses_other_text(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[training]\nepochs = 3\n")
    assert load_toml(recipe) == {"training": {"epochs": 3}}
    recipe.write_text("[training\n")
    assert message_of(lambda: load_toml(recipe)).startswith(f"{recipe} is not valid TOML: ")
    missing = tmp_path / "none.toml"
    assert message_of(lambda: load_toml(missing)) == f"cannot read {missing}: No such file or directory"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("a.b=5", 5),
        ("a.b=1e-3", 1e-3),
        ("a.b=true", True),
        ("a.b=gru", "gru"),
        ("a.b='5'", "5"),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=x=y", "x=y"),
        ("a.b=", ""),
        (" a.b = 5 ", 5),
    ],
)
def test_the_value_of_an_override_is_toml_or_text(override: str, value: object) -> None:
    assert apply_overrides({"a": {"b": 0, "c": 1}}, [override]) == {"a": {"b": value, "c": 1}}


def test_overrides_create_sections_and_do_not_change_the_original() -> None:
    original: dict[str, Any] = {"a": {"b": 1}}
    assert apply_overrides(original, ["a.b=2", "c.d.e=3"]) == {"a": {"b": 2}, "c": {"d": {"e": 3}}}
    assert original == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "cannot read 'epochs'; write key=value, for instance training.epochs=5"),
        ("a..b=1", "cannot read 'a..b=1'; write key=value, for instance training.epochs=5"),
        ("a.b.c=1", "cannot set 'a.b.c': 'a.b' is a value, not a section"),
    ],
)
def test_an_unreadable_override_gives_the_expected_form(override: str, message: str) -> None:
    assert message_of(lambda: apply_overrides({"a": {"b": 1}}, [override])) == message


def test_short_name_shows_the_fields_that_differ_from_their_defaults() -> None:
    assert short_name(Cell()) == "Cell"
    assert short_name(Cell(size=7)) == "Cell size=7"
    assert short_name(Training(epochs=2, at=(1,))) == "Training epochs=2 at=(1,)"
    assert short_name(Training(epochs=2, clip=1.0, at=(1,))) == "Training epochs=2 clip=1.0 +1"
    assert short_name(Plan(training=Training(clip=1.0))).startswith("Plan training=Training(")


@spec(renamed={"width": "size", "extent": "size"})
class Renamed:
    size: int = Field(default=8, ge=1)


@spec(renamed={"kind": "cell"})
class RenamedChild(Renamed):
    cell: str = "gru"


@spec(renamed={"network": "model"})
class Outer:
    model: Any = field(default_factory=Renamed)
    training: Training = field(default_factory=Training)


def read(data: dict[str, Any], *overrides: str) -> Any:
    return from_dict(apply_overrides(data, overrides, Outer, trusted=True), Outer, trusted=True)


def test_former_field_names_are_read_as_the_current_ones() -> None:
    assert read({"network": {"width": 3}}) == Outer(Renamed(3))
    assert read({"model": {"extent": 3}}) == Outer(Renamed(3))
    assert to_dict(read({"network": {"width": 3}}))["model"] == {"class": f"{__name__}:Renamed", "size": 3}


def test_former_field_names_are_inherited() -> None:
    data = {"model": {"class": f"{__name__}:RenamedChild", "width": 3, "kind": "lstm"}}
    assert read(data) == Outer(RenamedChild(3, "lstm"))


def test_former_field_names_are_read_from_toml(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[network]\nwidth = 3\n")
    assert read(load_toml(recipe)) == Outer(Renamed(3))


@pytest.mark.parametrize("in_file", ["network.width", "network.size", "model.width", "model.size"])
@pytest.mark.parametrize("override", ["network.width", "network.size", "model.extent", "model.size"])
def test_an_override_replaces_the_value_of_a_file_under_either_name(in_file: str, override: str) -> None:
    section, name = in_file.split(".")
    assert read({section: {name: 3}}, f"{override}=4") == Outer(Renamed(4))


def test_an_override_of_a_section_without_values_in_the_file_may_use_former_names() -> None:
    assert read({}, "network.width=4", "training.epochs=2") == Outer(Renamed(4), Training(2))


def test_both_names_of_a_renamed_field_are_refused() -> None:
    expected = "'model.width' is the former name of 'model.size', and both are given; remove 'model.width'"
    both = {"model": {"width": 3, "size": 4}}
    assert message_of(lambda: read(both)) == expected
    assert message_of(lambda: read({"model": {"size": 4, "width": 3}})) == expected
    assert message_of(lambda: read(both, "model.size=5")) == expected
    assert message_of(lambda: read({"network": {}, "model": {}})) == (
        "'network' is the former name of 'model', and both are given; remove 'network'"
    )


def test_a_value_under_a_former_name_is_checked_under_the_current_one() -> None:
    assert message_of(lambda: read({"model": {"width": 0}})) == "model.size must be at least 1, got 0"


def test_the_constructor_names_the_current_field() -> None:
    assert message_of(lambda: Renamed(width=3)) == "'width' is now called 'size'"


def test_an_unknown_name_suggests_a_current_field() -> None:
    expected = "unknown field 'model.widht'; did you mean 'model.size'?"
    assert message_of(lambda: read({"model": {"widht": 3}})) == expected


def test_renamed_must_lead_from_a_former_name_to_a_field() -> None:
    with pytest.raises(AssertionError, match="must map names that are not fields to names that are"):
        spec(renamed={"size": "width"})(type("Wrong", (), {"__annotations__": {"size": int}}))


def test_a_stored_spec_from_before_a_field_existed_does_what_it_did_then() -> None:
    """The default is for new specs. A nested spec and a subclass behave the same; a value that is stored is kept."""

    @spec
    class Deepest(Deepened):
        width: int = 8

    assert from_dict({}, Deepened).depth == 3
    assert from_dict({}, Deepened, stored=True).depth == 1
    assert from_dict({"depth": 2}, Deepened, stored=True).depth == 2
    assert from_dict({"width": 4}, Deepest, stored=True) == Deepest(depth=1, width=4)
    nested = {"anything": [{"class": f"{__name__}:Deepened"}], "model": {"class": f"{__name__}:Deepened"}}
    plan = from_dict(nested, Plan, trusted=True, stored=True)
    assert (plan.model.depth, plan.anything[0].depth) == (1, 1)


def test_a_value_from_before_must_name_a_field() -> None:
    with pytest.raises(AssertionError, match="has other fields"):

        @spec(before={"dpeth": 1})
        class Wrong:
            depth: int = 3
