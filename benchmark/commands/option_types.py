"""Argument types of the benchmark's options: each reads one text or says what is wrong with it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

import httpx

N = TypeVar("N", int, float)
T = TypeVar("T")
_LAST_PORT = 65535


def above_zero(kind: type[N]) -> Callable[[str], N]:
    """A number of this kind above 0."""

    def read(text: str) -> N:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    read.__name__ = kind.__name__
    return read


def at_least_zero(text: str) -> int:
    """A whole number of 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def address(text: str) -> str:
    """The http or https address of a server, as given."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host or (url.port or 0) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no address such as http://127.0.0.1:8000")
    return text


def share(text: str) -> float:
    """A number within 0 and 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and 1")
    return value


def list_of(read: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Values of another type, separated by commas."""

    def read_all(text: str) -> tuple[T, ...]:
        return tuple(read(part.strip()) for part in text.split(","))

    read_all.__name__ = "comma-separated list"
    return read_all


def pair_of(sign: str) -> Callable[[str], tuple[str, str]]:
    """A name and a value with `sign` between them; neither is empty."""

    def read(text: str) -> tuple[str, str]:
        name, found, value = text.partition(sign)
        if not (name and found and value):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME{sign}VALUE")
        return name, value

    read.__name__ = f"NAME{sign}VALUE pair"
    return read
