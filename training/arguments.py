"""Argument types that training's command lines share."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """An integer argument of at least 1.

    Raises:
        argparse.ArgumentTypeError: the integer is below 1.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value
