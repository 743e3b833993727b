"""Settings classes of the sub-commands, and the types of their fields."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from rich.console import Console
from typing_extensions import override

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
