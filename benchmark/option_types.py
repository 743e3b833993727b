"""Argument types of the benchmark's options: each reads one text or says what is wrong with it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)
T = TypeVar("T")


def above_zero(kind: type[N]) -> Callable[[str], N]:
    """A number of this kind above 0."""

    def read(text: str) -> N:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    read.__name__ = kind.__name__
    return read


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
