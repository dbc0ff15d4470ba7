"""The types of the fields in requests: ids, timestamps and numbers, with their limits and their JSON schemas."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from reprise.errors import DataError
from reprise.recommender.history import unix_seconds

ID_CHARACTERS = 256
TEXT_CHARACTERS = 2_000
SCALAR = f"text of at most {TEXT_CHARACTERS:,} characters without control characters, a finite number, true or false"
"""Description of a `Scalar` in messages."""
LARGEST_INTEGER = 2**53
"""Largest integer that every JSON parser reads exactly."""
LARGEST_MS = 253_402_300_799_999
"""The end of the year 9999, in milliseconds since 1970."""
ISO = (
    r"^(197[1-9]|19[89][0-9]|2[0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]+)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})$"
)
"""The documented form of ISO 8601 timestamps. The server also reads other forms, but does not promise to. In this range of
years every offset gives a time between 1970 and 9999."""
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""Text without control characters."""


def as_integer(value: object) -> object:
    """Convert a float such as 3.0 to an integer. Return other values unchanged, for pydantic to check."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_text(value: object) -> object:
    """Convert a whole number to text. Return text unchanged, for pydantic to check."""
    value = as_integer(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER:
        return str(value)
    if not isinstance(value, str):
        raise ValueError(
            f"an id is text or a whole number; write whole numbers above {LARGEST_INTEGER} as text"
        )
    return value


def _as_milliseconds(value: object) -> int:
    """Convert a timestamp to milliseconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(
            "a timestamp is a number of seconds or milliseconds since 1970, or ISO 8601 with a UTC offset"
        )
    try:
        time_s = unix_seconds(value)
    except DataError as error:
        raise ValueError(str(error)) from None
    time_ms = round(time_s * 1000)
    if time_s < 0 or time_ms > LARGEST_MS:
        raise ValueError("a timestamp must be between 1970 and 9999")
    return time_ms


def one_fault(describe: Callable[[Any], str]) -> WrapValidator:
    """Report one fault for a value of a union. Otherwise pydantic reports one for each member of the union.

    Args:
        describe: Returns the message for an invalid value.
    """

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("union", "{message}", {"message": describe(value)}) from None

    return WrapValidator(validate)


Text = Annotated[str, StringConstraints(max_length=TEXT_CHARACTERS, pattern=PRINTABLE)]
PathId = Annotated[str, StringConstraints(min_length=1, max_length=ID_CHARACTERS, pattern=PRINTABLE)]
"""An id in the path of a URL."""
Id = Annotated[
    PathId,
    BeforeValidator(_as_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": ID_CHARACTERS, "pattern": PRINTABLE},
                {"type": "integer", "minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER},
            ]
        }
    ),
]
"""An id as text or as a whole number: "17" and 17 are the same id."""
Number = Annotated[float, Field(allow_inf_nan=False)]
EventValue = Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]
"""A number in the range of float32."""
Timestamp = Annotated[
    int,
    BeforeValidator(_as_milliseconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": LARGEST_MS},
                {"type": "string", "format": "date-time", "pattern": ISO},
            ]
        }
    ),
]
"""Seconds or milliseconds since 1970, or ISO 8601 with a UTC offset. Converted to milliseconds."""
ColumnName = PathId
EventKind = PathId
Scalar = Annotated[
    Text | Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)] | Number | bool,
    one_fault(lambda value: f"input should be {SCALAR}"),
]

# lists are limited by the bytes of an item and of a request
ColumnValue = Annotated[
    Scalar | list[Text] | list[Number],
    one_fault(lambda value: f"input should be {SCALAR}, or a list of texts or of numbers"),
]


class StrictBody(BaseModel):
    """Base class of request bodies: unknown fields are errors, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
