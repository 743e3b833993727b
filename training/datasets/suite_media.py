"""The media of a suite: where they lie in it, how they get there, how large pictures are.

Called by `training.datasets.suite`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lamm_model.media import decode_image

MEDIA_FOLDER = "media"


def media_name(root: Path, path: Path) -> str:
    """A medium's path within a suite: below `media` as it was below the published root."""
    return f"{MEDIA_FOLDER}/{place_in_tree(root, path)}"


def place_in_tree(root: Path, path: Path) -> str:
    """A medium's path relative to the published root, without detours."""
    return os.path.normpath(path.relative_to(root))


def add_media(path: Path, target: Path, *, copy: bool) -> None:
    """Puts a file at `target`, unless another record did: as a hard link, or copied.

    Raises:
        OSError: it cannot be read, or the disk is full.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        try:
            # A symbolic link would lead out of the suite, where no run follows.
            os.link(path.resolve(), target)
        except OSError:
            # Another file system, or another owner's file: the copy is as good.
            copy = True
    if copy:
        shutil.copyfile(path, target)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture in pixels, as the model is shown it.

    Raises:
        MediaError: it is no picture, or corrupt, or beyond the limits.
    """
    info = decode_image(path.read_bytes())[1]
    return int(info["width"]), int(info["height"])
