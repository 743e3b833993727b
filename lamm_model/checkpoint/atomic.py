"""Directories that are written completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder next to `target`, renamed to `target` when the block completes.

    `target` does not change if the block raises or the process dies; the next writer of the same
    target deletes the leftover folder.

    Raises:
        FileExistsError: `target` exists and `replace` is false.
    """
    if target.exists() and not replace:
        raise FileExistsError(f"{target} already exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.writing"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        flush_folder(temporary)
        swap_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def swap_folder(temporary: Path, target: Path) -> None:
    """Renames a folder to `target` and replaces an existing one."""
    # A rename cannot replace a non-empty folder, so the old one is moved away first.
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(temporary, target)
    shutil.rmtree(old, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Flushes every file of the folder to disk and makes it readable by all users."""
    for path in folder.rglob("*"):
        if path.is_file():
            flush_file(path)


def flush_file(path: Path) -> None:
    """Flushes a file to disk and makes it readable by all users."""
    # safetensors creates files readable by their owner only; a service may run as another user.
    path.chmod(0o644)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
