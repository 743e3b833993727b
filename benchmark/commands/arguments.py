"""argparse parsers made from settings classes: each field is a flag, its description the help.

As in `service.config`, pydantic checks the values. argparse splits the words, because repeated
flags, several words per flag and positional arguments have no form in pydantic-settings' own
command-line source.
"""

from __future__ import annotations

import argparse
import inspect
import typing
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import override

from benchmark.commands.options import Argument, Options, OptionsT

_EXIT_USAGE = 2


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage."""

    @override
    def error(self, message: str) -> NoReturn:
        """Exits with status 2."""
        self.exit(_EXIT_USAGE, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def read_options(
    parser: argparse.ArgumentParser, options: type[OptionsT], flags: dict[str, Any]
) -> OptionsT:
    """The flags given, checked. A wrong one ends the process with status 2."""
    try:
        return options(**flags)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] != "value_error":  # our own messages contain the value
            message = f"{message[:1].lower()}{message[1:]}, got {problem['input']!r}"
        parser.error(f"argument --{name.replace('_', '-')}: {message}")


def add_arguments(parser: argparse.ArgumentParser, options: type[Options]) -> None:
    """Adds a flag per field, in groups by the class that declares it."""
    added: set[str] = set()
    for part in reversed(options.__mro__):
        names = [name for name in inspect.get_annotations(part) if name in options.model_fields]
        if not issubclass(part, Options) or added.issuperset(names):
            continue
        group: argparse._ActionsContainer = parser
        if part.heading is not None:
            group = parser.add_argument_group(part.heading, part.note)
        for name in names:
            if name not in added:
                _add_argument(group, name, options.model_fields[name])
        added.update(names)


def parse(
    options: type[OptionsT], argv: Sequence[str] | None, prog: str, description: str
) -> OptionsT:
    """The options in `argv` of a program of its own."""
    parser = Parser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, options)
    return read_options(parser, options, vars(parser.parse_args(argv)))


def _add_argument(parser: argparse._ActionsContainer, name: str, field: FieldInfo) -> None:
    argument = next((one for one in field.metadata if isinstance(one, Argument)), Argument())
    keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(field)}
    if field.annotation is bool:
        keywords["action"] = "store_true"
    elif bool in typing.get_args(field.annotation):
        keywords["action"] = argparse.BooleanOptionalAction
    elif (metavar := _metavar(field.annotation)) is not None:
        keywords["metavar"] = metavar
    keywords |= argument.keywords
    if argument.names and not argument.names[0].startswith("-"):
        parser.add_argument(*argument.names, **keywords)
        return
    keywords |= {"dest": name, "required": field.is_required()}
    parser.add_argument(f"--{name.replace('_', '-')}", *argument.names, **keywords)


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    default = () if field.is_required() else field.get_default()
    if default is None or default is False or default in ((), {}):
        return text
    if isinstance(default, tuple):
        shown = ",".join(_shown(value) for value in default)
    else:
        shown = _shown(default)
    return f"{text} (default: {shown})"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metavar(annotation: Any) -> str | None:
    """What stands for the value in the help; None leaves it to argparse."""
    kinds = list(_leaves(annotation))
    if choices := [kind for kind in kinds if isinstance(kind, str)]:
        return f"{{{','.join(choices)}}}"
    if Path in kinds:
        return "PATH"
    return "N" if int in kinds or float in kinds else None


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types within an annotation; of a `Literal` or a `StrEnum` the values."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        yield from map(str, annotation)
    elif typing.get_origin(annotation) is Annotated:
        yield from _leaves(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) is not None:
        for part in typing.get_args(annotation):
            yield from _leaves(part)
    else:
        yield annotation
