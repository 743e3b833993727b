"""The media of a suite: their paths, links or copies, and the sizes of pictures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lamm_model.media import decode_image


def add_media(path: Path, target: Path, *, copy: bool) -> None:
    """Links (hard link) or copies a file to `target`, unless `target` exists.

    Raises:
        OSError: the file cannot be read, or the disk is full.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        try:
            # Resolved: a symbolic link would lead out of the suite, and runs do not follow it.
            os.link(path.resolve(), target)
        except OSError:
            # Another file system or another owner's file.
            copy = True
    if copy:
        shutil.copyfile(path, target)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture in pixels, after rotation by its EXIF orientation.

    Raises:
        MediaError: the file is not a picture, is corrupt, or exceeds the limits.
    """
    info = decode_image(path.read_bytes())[1]
    return int(info["width"]), int(info["height"])
