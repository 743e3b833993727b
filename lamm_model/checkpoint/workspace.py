"""A resumable working directory next to its target, renamed to it at the end.

Unlike with `atomic_directory`, a rerun of the same plan after a crash reuses the finished shards.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamm_model.checkpoint.atomic import flush_folder, swap_folder
from lamm_model.spec import CheckpointError, read_json

# Size and SHA-256 of every weights file.
MANIFEST = "manifest.json"

_LOG = "progress.json"
_CONTENT = "content"


class Workspace:
    """`folder` becomes the target; the log of finished shards is stored next to it."""

    def __init__(self, root: Path, plan: str) -> None:
        self._root, self._plan = root, plan
        self.folder = root / _CONTENT
        self._shards: dict[str, Mapping[str, Any]] = _shards_of(root / _LOG, plan)
        if not self._shards:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(exist_ok=True)
        for torn in self.folder.rglob("*.part"):
            torn.unlink()

    @property
    def finished_bytes(self) -> int:
        """Bytes of the shards that an earlier run finished."""
        return sum(int(entry["bytes"]) for entry in self._shards.values())

    def finished(self, path: Path) -> Mapping[str, Any] | None:
        """`bytes` and `sha256` of a shard that an earlier run finished, else None."""
        return self._shards.get(str(path.relative_to(self.folder)))

    def finish(self, path: Path, entry: Mapping[str, Any]) -> None:
        """Records a finished shard durably."""
        self._shards[str(path.relative_to(self.folder))] = dict(entry)
        temporary = self._root / f"{_LOG}.part"
        with temporary.open("w", encoding="utf8") as stream:
            json.dump({"plan": self._plan, "shards": self._shards}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self._root / _LOG)


@contextmanager
def workspace(target: Path, plan: Mapping[str, Any], *, replace: bool) -> Iterator[Workspace]:
    """A workspace whose content becomes `target` when the block completes.

    `plan` is everything that determines the result (inputs by size and time, options). A rerun with
    the same plan resumes; with another plan it starts over. If the block raises, `target` does not
    change, and finished shards are kept in `.NAME.converting` next to it.

    Raises:
        FileExistsError: `target` exists and `replace` is false.
        CheckpointError: another process writes the same target, or an input is inside it.
    """
    if target.exists() and not replace:
        raise FileExistsError(f"{target} already exists")
    for file in (Path(entry["path"]) for entry in plan.get("inputs", ())):
        if target.resolve() in file.parents:
            raise CheckpointError(
                f"{target} contains the input {file}; replacing it deletes the input"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    root = target.parent / f".{target.name}.converting"
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"{target}: another process is writing it") from None
        text = json.dumps(plan, sort_keys=True, default=str)
        work = Workspace(root, hashlib.sha256(text.encode()).hexdigest())
        try:
            yield work
            flush_folder(work.folder)
            swap_folder(work.folder, target)
        except BaseException:
            # Without a finished shard there is nothing to resume.
            if not work.finished_bytes:
                shutil.rmtree(root, ignore_errors=True)
            raise
        shutil.rmtree(root, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify_manifest(folder: Path) -> int:
    """Compares the files of `manifest.json` with their digests; returns their number.

    Raises:
        CheckpointError: the manifest or a file is missing, or a digest differs.
    """
    files = read_json(folder, MANIFEST, "a merged checkpoint")["files"]
    for name, entry in files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing, but {MANIFEST} lists it")
        found = file_sha256(folder / name)
        if found != entry["sha256"]:
            raise CheckpointError(
                f"{folder / name}: the digest is {found}; {MANIFEST} has {entry['sha256']}"
            )
    return len(files)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def file_identity(path: Path) -> dict[str, Any]:
    """Path, size and modification time: the identity of a file without reading it."""
    status = path.stat()
    return {"path": str(path.resolve()), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _shards_of(log: Path, plan: str) -> dict[str, Mapping[str, Any]]:
    try:
        value = json.loads(log.read_text(encoding="utf8"))
        return dict(value["shards"]) if value["plan"] == plan else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # no log, or an incomplete one: no shard is known to be finished
