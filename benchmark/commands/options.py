"""Settings classes as command lines: each field is a flag, and its description is the help.

As in `service.config`, pydantic checks the values. argparse splits the words, because repeated
flags, several words per flag and positional arguments have no form in pydantic-settings' own
command-line source.
"""

from __future__ import annotations

import argparse
import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, NoReturn, TypeVar

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from rich.console import Console
from typing_extensions import override

_EXIT_USAGE = 2
_LAST_PORT = 65535


class Options(BaseSettings):
    """Base of the options of one sub-command. `heading` and `note` introduce the flags of a class.

    The API key alone is also read from the environment, as `LAMM_API_KEY`.
    """

    model_config = SettingsConfigDict(env_prefix="LAMM_", frozen=True, validate_default=False)
    heading: ClassVar[str | None] = None
    note: ClassVar[str | None] = None

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _ApiKeyVariable(settings_cls)


class _ApiKeyVariable(EnvSettingsSource):
    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name != "api_key":
            return None, field_name, False
        return super().get_field_value(field, field_name)


class Argument:
    """Arguments of `ArgumentParser.add_argument` that a field's type does not tell.

    `names` are further flags; one without dashes makes the field positional.
    """

    def __init__(self, *names: str, **keywords: Any) -> None:
        self.names, self.keywords = names, keywords


OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, slots=True)
class Command(Generic[OptionsT]):
    """A sub-command: its line in the list, its help, its options, and the function that runs it.

    `run` returns the exit status.
    """

    name: str
    summary: str
    description: str
    options: type[OptionsT]
    run: Callable[[OptionsT, Console], int]


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


# ------------------------------------------------------------------------------------------- types
def comma_separated(value: Any) -> Any:
    """`3,10` as a list of texts, which pydantic reads as the field's type."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def one_of(names: Collection[str]) -> AfterValidator:
    """A validator of a text that is one of `names`."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not one of {', '.join(names)}")
        return value

    return AfterValidator(check)


def pair_of(sign: str) -> BeforeValidator:
    """A validator that splits NAME and VALUE at `sign`; neither may be empty."""

    def split(text: str) -> tuple[str, str]:
        name, _, value = text.partition(sign)
        if not (name and value):
            raise ValueError(f"{text!r} does not have the form NAME{sign}VALUE")
        return name, value

    return BeforeValidator(split)


def _check_address(text: str) -> str:
    expected = "expected an address such as http://127.0.0.1:8000"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"{text!r} is not a valid URL ({error}); {expected}") from None
    if url.scheme not in {"http", "https"} or not url.host or (url.port or 0) > _LAST_PORT:
        raise ValueError(f"{text!r} is not a valid URL; {expected}")
    return text


CommaSeparated = BeforeValidator(comma_separated)
Address = Annotated[str, AfterValidator(_check_address)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Argument(metavar="SHARE")]
Assignment = Annotated[tuple[str, str], pair_of("=")]


class ServerOptions(Options):
    """The server that a sub-command measures."""

    heading = "server"

    url: Annotated[Address, Argument("--base-url")] = Field(
        default="http://127.0.0.1:8000", description="address of the server"
    )
    model: str | None = Field(
        default=None, description="model id (default: the first in /v1/models)"
    )
    api_key: str | None = Field(
        default=None,
        description="API key, sent as a Bearer token (default: LAMM_API_KEY in the environment)",
    )
    timeout: Annotated[PositiveFloat, Argument(metavar="SECONDS")] = Field(
        default=600.0, description="longest time without a byte before a request is given up"
    )


def parse(
    options: type[OptionsT], argv: Sequence[str] | None, prog: str, description: str
) -> OptionsT:
    """The options in `argv` of a program of its own."""
    parser = Parser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, options)
    return read_options(parser, options, vars(parser.parse_args(argv)))
