"""Directories that appear whole or not at all. Called by `workspace` and by the trainer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder beside `target` to write into; renamed to `target` when the block ends well.

    A block that fails, or a process that dies, leaves `target` as it was. What a dead process left
    is swept by the next writer of the same target.

    Raises:
        FileExistsError: `target` exists and `replace` is false.
    """
    if target.exists() and not replace:
        raise FileExistsError(f"{target} exists already")
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
    """Renames a folder to `target`, in place of what is there."""
    # A rename cannot replace a full folder: the old one steps aside for the moment between.
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(temporary, target)
    shutil.rmtree(old, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Puts every file of the folder on the disk, readable by all."""
    for path in folder.rglob("*"):
        if path.is_file():
            flush_file(path)


def flush_file(path: Path) -> None:
    """Puts one file on the disk, readable by all."""
    # safetensors makes files that their owner alone may read; a service runs as another.
    path.chmod(0o644)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
