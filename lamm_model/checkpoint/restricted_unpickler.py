"""Tensors of a TorchScript archive, read without running the archive's code.

OpenAI's `ViT-L-14.pt` is such an archive: a zip file of a pickle (`data.pkl`), raw storages
(`data/N`) and TorchScript source. `torch.jit.load` compiles and may run that source. This unpickler
accepts a few harmless names, rebuilds modules as plain attribute containers, and represents tensors
by their position in the zip file; their values are read on demand.
"""

from __future__ import annotations

import collections
import io
import pickle  # noqa: TID251 # nosec B403 # subclassed to refuse every name not listed here
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamm_model.spec import CheckpointError

_STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# TorchScript's names for typed lists.
_LIST_BUILDERS = frozenset({"build_intlist", "build_doublelist", "build_boollist"})
_MAX_PICKLE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ArchivedTensor:
    """Position of a tensor in the archive: a storage and a strided view of it."""

    storage: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def is_torchscript(path: Path) -> bool:
    """Whether a file is a zip file with TorchScript's constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def torchscript_tensors(path: Path) -> dict[str, ArchivedTensor]:
    """Parameters and buffers by their names in the module's `state_dict()`.

    Raises:
        CheckpointError: the archive is broken, or its pickle names anything outside the list.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = _root(archive)
            info = archive.getinfo(f"{root}/data.pkl")
            if info.file_size > _MAX_PICKLE_BYTES:
                raise CheckpointError(
                    f"{path}: data.pkl has {info.file_size} bytes; the limit is {_MAX_PICKLE_BYTES}"
                )
            module = _Unpickler(io.BytesIO(archive.read(info))).load()
            return dict(_walk(module, ""))
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused: {error}") from None
    except Exception as error:
        # A hostile or truncated pickle can raise any exception.
        raise CheckpointError(f"{path}: the TorchScript archive cannot be read: {error}") from error


def read_archived(path: Path, tensor: ArchivedTensor) -> Tensor:
    """The tensor.

    Raises:
        CheckpointError: the storage is missing or shorter than the view needs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"{_root(archive)}/data/{tensor.storage}")
            # torch stores them uncompressed; a compressed one could expand a thousandfold.
            if info.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f"{path}: storage {tensor.storage} is compressed")
            data = bytearray(archive.read(info))
    except (KeyError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise CheckpointError(
            f"{path}: storage {tensor.storage} cannot be read: {error}"
        ) from error
    size = torch.empty((), dtype=tensor.dtype).element_size()
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True)) + 1
    wanted = (tensor.offset + (reach if prod(tensor.shape) else 0)) * size
    if len(data) < wanted or len(data) % size or min(tensor.stride, default=0) < 0:
        raise CheckpointError(
            f"{path}: storage {tensor.storage} has {len(data)} bytes; its tensor requires {wanted}"
        )
    if not data:
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    flat = torch.frombuffer(data, dtype=tensor.dtype)
    return flat.as_strided(tensor.shape, tensor.stride, tensor.offset)


class _Bag:
    """Replaces any TorchScript module; only keeps its attributes."""

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state) if isinstance(state, dict) else {}


class _Unpickler(pickle.Unpickler):
    """Accepts only names that TorchScript uses."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Bag
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch.jit._pickle" and name in _LIST_BUILDERS:
            return list
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"the pickle names {module}.{name}, which is not allowed")

    def persistent_load(self, pid: Any) -> tuple[str, torch.dtype]:
        kind, dtype, key, _location, _count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isalnum():
            raise pickle.UnpicklingError(f"the pickle refers to {pid!r}, which is not a storage")
        return str(key), dtype


def _rebuild(
    storage: tuple[str, torch.dtype], offset: int, shape: Any, stride: Any, *_: Any
) -> ArchivedTensor:
    key, dtype = storage
    return ArchivedTensor(
        key, dtype, int(offset), tuple(int(n) for n in shape), tuple(int(n) for n in stride)
    )


def _walk(module: Any, prefix: str) -> Iterator[tuple[str, ArchivedTensor]]:
    for name, value in getattr(module, "attributes", {}).items():
        if isinstance(value, ArchivedTensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Bag):
            yield from _walk(value, f"{prefix}{name}.")


def _root(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        if name.endswith("/data.pkl"):
            return name.removesuffix("/data.pkl")
    raise CheckpointError(f"{archive.filename}: the archive has no data.pkl")
