"""The option table as click options, and the options that several commands share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import rich_click as click
from click import get_current_context
from click.core import ParameterSource

from connleak.model.errors import Error
from connleak.plan.fields import FIELDS, Field, choices
from connleak.plan.options import Group
from connleak.recording.redaction import redact_argv

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]
OUTPUT: Group = "Output"
JUDGING: Group = "Judging"
BY_NAME = {field.name: field for field in FIELDS}


def run_options(command: str) -> Decorator:
    """Add a command's options of the table; the function gets those that the command line sets, as `given`."""
    offered = [field for field in FIELDS if command in field.option.commands]

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def called(**values: Any) -> Any:
            source = get_current_context().get_parameter_source
            typed = [(field, values.pop(field.name)) for field in offered]
            given = {
                field.name: parsed(field, value)
                for field, value in typed
                if source(field.name) is ParameterSource.COMMANDLINE
            }
            return function(given={**given, "argv": command_line()}, **values)

        return add(called, [click_option(field) for field in offered])

    return decorate


def table_options(panel: str, **helps: str) -> Decorator:
    """Add single options of the table, by their names, with a help text of their own or, if empty, the table's."""
    return lambda function: add(function, [click_option(BY_NAME[name], panel, help) for name, help in helps.items()])


def add(function: Command, decorators: list[Decorator]) -> Command:
    """Add options in the order of their list."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def click_option(field: Field, panel: str = "", help: str = "") -> Decorator:
    """Return the click option for a row of the table, or with another panel and help text."""
    names = [field.flag]
    if field.option.former_name:
        names.append("--" + field.option.former_name)
    kind, default = base_type(field.hint), field.default
    repeated, allowed = kind in (tuple, dict), choices(field.hint)
    return click.option(
        *names,
        field.name,
        type=click.Choice(allowed) if allowed else None if repeated else kind,
        is_flag=kind is bool,
        multiple=repeated,
        default=None if repeated else default,
        show_default=not repeated and bool(default),
        metavar=field.option.metavar or None,
        help=(help or field.option.help) + (one_of(allowed) if allowed and field.option.metavar else ""),
        panel=panel or field.option.group,
    )


def one_of(names: tuple[str, ...]) -> str:
    """Return the end of a help text that lists the values of an option."""
    return f" One of {', '.join(names)}."


def base_type(hint: Any) -> Any:
    """Return the Python type of an option: int for `Annotated[int, ...] | None`, dict for `dict[str, str]`."""
    if get_origin(hint) is Annotated:
        return base_type(get_args(hint)[0])
    inner = [one for one in get_args(hint) if one is not NoneType]
    if len(inner) < len(get_args(hint)):
        return base_type(inner[0])
    return get_origin(hint) or hint


def parsed(field: Field, value: Any) -> Any:
    """Return the value of an option that the command line sets; its NAME=VALUE arguments as a table."""
    return dict(pairs(field, value)) if base_type(field.hint) is dict else value


def pairs(field: Field, arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the name and value of each argument; raise Error without the argument, which may be secret."""
    separator = field.option.separator
    for argument in arguments:
        name, found, value = argument.partition(separator)
        if not found or not name.strip():
            raise Error(
                f"{field.flag}: expected {field.option.metavar}",
                f"connleak run ... {field.flag} {EXAMPLES[separator]}",
            )
        yield (name, value) if separator == "=" else (name.strip(), value.strip())


EXAMPLES = {"=": "DEBUG=0", ":": "'Accept: application/json'"}


def command_line() -> tuple[str, ...]:
    """Return the command line without its secrets."""
    return tuple(redact_argv(sys.argv[1:]))


strict = click.option("--strict", is_flag=True, help="Exit with 1 if the verdict is strained, too.", panel=JUDGING)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.", panel=OUTPUT)


def out(default: str, meaning: str = "The run's folder", metavar: str = "DIR") -> Decorator:
    """Add --out."""
    return click.option("--out", metavar=metavar, help=f"{meaning}; default: {default}.", panel=OUTPUT)


def formats(names: tuple[str, ...], meaning: str) -> Decorator:
    """Add --format with these formats, and --json as its short form."""
    choice = click.option(
        "--format",
        "form",
        type=click.Choice(names),
        metavar="FORMAT",
        default="text",
        show_default=True,
        help=f"{meaning} on stdout; progress goes to stderr.{one_of(names)}",
        panel=OUTPUT,
    )
    short = click.option("--json", "form", flag_value="json", help="Short for --format json.", panel=OUTPUT)
    return lambda command: add(command, [choice, short])


verdict_format = formats(("text", "json", "md", "junit", "sarif"), "Format of the verdict (md: the draft of an issue)")
comparison_format = formats(("text", "json", "md"), "Format of the comparison")
