"""The option table: the fields of RunOptions as rows, and their values checked against their types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.plan.catalog import nearest
from connleak.plan.options import Option, RunOptions


class Field(Struct, frozen=True, kw_only=True):
    """A row of the option table: a field of RunOptions and how it is offered."""

    name: str
    hint: Any
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def names(self) -> tuple[str, ...]:
        """The names that connleak.toml accepts."""
        return (self.name, self.option.former_name) if self.option.former_name else (self.name,)


def fields() -> Iterator[Field]:
    """Yield the option table's rows, in the order of the help."""
    for field in msgspec.structs.fields(RunOptions):
        if get_origin(field.type) is Annotated:
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            option = next(extra for extra in get_args(field.type) if isinstance(extra, Option))
            yield Field(name=field.name, hint=field.type, default=default, option=option)


FIELDS = tuple(fields())


def choices(hint: Any) -> tuple[str, ...]:
    """Return the words that an option's type allows; none for another type."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next(filter(None, map(choices, get_args(hint))), ())


def check_types(options: RunOptions) -> None:
    """Raise Error for the first option whose value is not of its type, or out of range."""
    for field in FIELDS:
        value = getattr(options, field.name)
        try:
            msgspec.convert(value, field.hint)
        except msgspec.ValidationError as error:
            shown = f" is {value:g}" if isinstance(value, float) else f" is {value}" if is_plain(value) else ""
            raise Error(f"{field.flag}{shown}: {expectation(error, field, value)}", "connleak run --help") from None


def is_plain(value: object) -> bool:
    """Return whether a value may be shown: a table or a list may contain secrets."""
    return isinstance(value, str | int)


PLAIN = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
"""The types of msgspec's messages, in TOML's words."""


def expectation(error: msgspec.ValidationError, field: Field, value: object) -> str:
    """Return the end of an error message: the expectation that an option's value does not meet."""
    words = choices(field.hint)
    if words:
        return f"choose from {', '.join(words)}{nearest(str(value), words)}"
    message = str(error).partition(" - at ")[0].replace(" | null", "").replace("Expected", "expected")
    return re.sub(r"`(\w+)`", lambda found: PLAIN.get(found[1], found[1]), message)
