"""Argument types that training's command lines share."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """An integer argument of at least 1; refuses others with argparse's error."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value
