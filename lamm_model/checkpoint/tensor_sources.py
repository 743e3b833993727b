"""One interface to all kinds of weights files: names, shapes, and tensors read on demand.

No code of a file runs: `.pt`, `.pth` and `.bin` are read by `torch_files`, TorchScript archives by
`restricted_unpickler`. Files are memory-mapped, so reading a 13B model takes the memory of one
tensor.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lamm_model.checkpoint.restricted_unpickler import (
    is_torchscript,
    read_archived,
    torchscript_tensors,
)
from lamm_model.checkpoint.torch_files import load_torch_file, named_tensors
from lamm_model.spec import CheckpointError

_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Named tensors of `files`.

    `read` returns the tensor of a name in the stored dtype, which must not be changed in place; it
    raises CheckpointError if the tensor cannot be read.
    """

    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]

    @classmethod
    def of(cls, path: Path, tensors: Mapping[str, Tensor]) -> TensorSource:
        """Tensors of a loaded file, memory-mapped if the format allows."""
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        return cls((path,), shapes, lambda name: tensors[name].detach())


@dataclass(frozen=True, slots=True)
class TensorRecipe:
    """Shape and source of one tensor of the new checkpoint.

    `rows` selects the rows `[start, stop)` of the source tensor (of fused projections), which are
    reshaped to `shape`.
    """

    source: TensorSource
    name: str
    shape: tuple[int, ...]
    rows: tuple[int, int] | None = None

    @classmethod
    def of(cls, source: TensorSource, name: str) -> TensorRecipe:
        """The unchanged tensor of a source."""
        return cls(source, name, tuple(source.shapes[name]))

    def read(self) -> Tensor:
        """The tensor in the stored dtype."""
        tensor = self.source.read(self.name)
        if self.rows is not None:
            tensor = tensor[self.rows[0] : self.rows[1]]
        return tensor.reshape(self.shape)


def open_weights(path: Path) -> TensorSource:
    """The weights of a file or of a Hugging Face directory (safetensors preferred to pickles).

    Raises:
        CheckpointError: no weights are found, or they cannot be read.
    """
    if path.is_file():
        return open_weights_file(path)
    for name in _INDEX_FILES:
        if (path / name).is_file():
            return _sharded(_indexed(path / name))
    for name in _SINGLE_FILES:
        if (path / name).is_file():
            return open_weights_file(path / name)
    if not path.is_dir():
        raise CheckpointError(f"{path}: file or directory not found")
    wanted = ", ".join((*_SINGLE_FILES, *_INDEX_FILES))
    raise CheckpointError(f"{path}: no weights found; expected one of {wanted}")


def open_weights_file(path: Path) -> TensorSource:
    """The weights of one file; its content, not its name, tells pickles from TorchScript.

    Raises:
        CheckpointError: the file cannot be read, or does not hold named tensors.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.is_file() and is_torchscript(path):
        archived = torchscript_tensors(path)
        shapes = {name: tensor.shape for name, tensor in archived.items()}
        return TensorSource((path,), shapes, lambda name: read_archived(path, archived[name]))
    value = load_torch_file(path)
    if not isinstance(value, Mapping) or not value:
        raise CheckpointError(f"{path}: holds a {type(value).__name__}; expected named tensors")
    return TensorSource.of(path, named_tensors(path, value))


def _safetensors(path: Path) -> TensorSource:
    """A safetensors file, reopened for every tensor so that no pages stay mapped."""
    try:
        with safe_open(path, framework="pt") as tensors:
            shapes = {
                name: tuple(tensors.get_slice(name).get_shape())
                for name in tensors.keys()  # noqa: SIM118 - not a mapping
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the weights cannot be read: {error}") from error

    def read(name: str) -> Tensor:
        try:
            with safe_open(path, framework="pt") as tensors:
                tensor: Tensor = tensors.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: {name} cannot be read: {error}") from error
        return tensor

    return TensorSource((path,), shapes, read)


def _sharded(paths: Sequence[Path]) -> TensorSource:
    """Several shards as one source; only the shard read last stays open."""
    path_of: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        source = open_weights_file(path)
        if twice := sorted(source.shapes.keys() & shapes.keys()):
            raise CheckpointError(f"{path}: {twice[0]} is also in another shard")
        shapes.update(source.shapes)
        path_of.update(dict.fromkeys(source.shapes, path))
    opened = functools.lru_cache(maxsize=1)(open_weights_file)
    return TensorSource(tuple(paths), shapes, lambda name: opened(path_of[name]).read(name))


def _indexed(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: not a valid shard index: {error!r}") from error
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index}: shard {name!r} is outside the directory")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent / name} is missing, but {index.name} lists it")
    return [index.parent / name for name in names]
