"""Writing of a checkpoint's weights tensor by tensor, in bounded memory and resumable.

Names, shapes and dtypes determine the safetensors header, so each tensor is read, merged in
float32, converted, written and freed: memory use is that of the largest tensor. Finished shards are
logged with their digests; a rerun of the same plan verifies them and continues after them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lamm_model.checkpoint.atomic import flush_file
from lamm_model.checkpoint.workspace import Workspace, file_sha256
from lamm_model.spec import CheckpointError

MAX_SHARD_BYTES = 2_000_000_000
_DTYPE_NAMES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.int64: "I64",
}
# Upper bound of JSON files, tokenizer and shard headers.
_OTHER_FILES_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor of the checkpoint; `read` returns float32, or int64 for counters."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """`digest` equals `spec.weights_digest` of the folder; `files` has bytes and sha256 of each."""

    digest: str
    files: Mapping[str, Mapping[str, Any]]


def check_disk(where: Path, needed: int) -> None:
    """Raises CheckpointError if the disk of `where` has less than `needed` bytes free."""
    free = shutil.disk_usage(where).free
    if free < needed + _OTHER_FILES_BYTES:
        raise CheckpointError(
            f"{where}: {free / 1e9:.2f} GB of disk space are free; "
            f"{(needed + _OTHER_FILES_BYTES) / 1e9:.2f} GB are required"
        )


def total_bytes(tensors: Sequence[PlannedTensor]) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def write_weights(
    folder: Path,
    tensors: Sequence[PlannedTensor],
    log: Workspace,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> WrittenWeights:
    """Writes `model*.safetensors` in the given order, and the index of several shards.

    Raises:
        CheckpointError: a value is not finite in its dtype, a source cannot be read, or the disk is
            full; a rerun reuses the finished shards.
    """
    shards = _split(tensors, max_shard_bytes)
    digest = hashlib.sha256()
    files: dict[str, Mapping[str, Any]] = {}
    weight_map: dict[str, str] = {}
    with tqdm(
        total=total_bytes(tensors), unit="B", unit_scale=True, disable=None, desc="writing"
    ) as bar:
        for number, shard in enumerate(shards, start=1):
            part = f"-{number:05}-of-{len(shards):05}" if len(shards) > 1 else ""
            name = f"model{part}.safetensors"
            path = folder / name
            # In name order, so that the running digest is that of the directory.
            digest.update(name.encode())
            reused = _reuse(path, log, digest)
            if reused is not None:
                bar.update(total_bytes(shard))
            files[name] = reused or _write(path, shard, log, digest, bar)
            weight_map.update({tensor.name: name for tensor in shard})
    if len(shards) > 1:
        index = {"metadata": {"total_size": total_bytes(tensors)}, "weight_map": weight_map}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf8")
    return WrittenWeights(digest.hexdigest(), files)


def _split(tensors: Sequence[PlannedTensor], max_shard_bytes: int) -> list[list[PlannedTensor]]:
    shards: list[list[PlannedTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    # Wider elements first, so that every tensor is aligned to its element size.
    return [sorted(shard, key=lambda t: -t.dtype.itemsize) for shard in shards]


def _reuse(path: Path, log: Workspace, digest: hashlib._Hash) -> Mapping[str, Any] | None:
    """The log entry of an intact shard, whose bytes are added to `digest`; else None."""
    entry = log.finished(path)
    if entry is None or not path.is_file() or path.stat().st_size != entry["bytes"]:
        return None
    if file_sha256(path) != entry["sha256"]:
        return None
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return entry


def _write(
    path: Path,
    shard: Sequence[PlannedTensor],
    log: Workspace,
    digest: hashlib._Hash,
    bar: tqdm[Any],
) -> Mapping[str, Any]:
    own = hashlib.sha256()
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("wb") as stream:
            for data, size in _blocks(shard):
                stream.write(data)
                own.update(data)
                digest.update(data)
                bar.update(size)
        flush_file(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CheckpointError(
            f"{path}: the disk is full: {shutil.disk_usage(path.parent).free / 1e9:.2f} GB are "
            f"free, this shard requires {total_bytes(shard) / 1e9:.2f} GB; free some space and run "
            f"the same command again; finished shards are kept"
        ) from error
    entry = {"bytes": path.stat().st_size, "sha256": own.hexdigest()}
    log.finish(path, entry)
    return entry


def _blocks(shard: Sequence[PlannedTensor]) -> Iterator[tuple[bytes | memoryview, int]]:
    """Pieces of the file, each with the number of weight bytes in it."""
    yield _header(shard), 0
    for tensor in shard:
        yield _bytes_of(tensor), tensor.nbytes


def _header(shard: Sequence[PlannedTensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in shard:
        header[tensor.name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + tensor.nbytes],
        }
        start += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: PlannedTensor) -> memoryview:
    value = tensor.read()
    if tuple(value.shape) != tensor.shape:
        raise CheckpointError(
            f"{tensor.name} has shape {list(value.shape)}; expected {list(tensor.shape)}"
        )
    value = value.to(tensor.dtype).contiguous()
    if value.is_floating_point() and not bool(value.isfinite().all()):
        limit = torch.finfo(tensor.dtype).max
        raise CheckpointError(
            f"{tensor.name} is not finite in {tensor.dtype} (largest value: {limit:g})"
        )
    array: Any = value.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)
