"""One interface to all kinds of weights files: names, shapes, and tensors read on demand.

No code of a file runs: `.pt`, `.pth` and `.bin` are read by `torch_files`, TorchScript archives by
`restricted_unpickler`. Files are memory-mapped, so reading a 13B model takes the memory of one
tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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


class TensorSource(Protocol):
    """A source of named tensors."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that hold the tensors."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every tensor, by name."""

    def read(self, name: str) -> Tensor:
        """The tensor in the stored dtype; it must not be changed in place.

        Raises:
            CheckpointError: the tensor cannot be read.
        """


class SafetensorsSource:
    """A safetensors file, reopened for every tensor so that no pages stay mapped."""

    def __init__(self, path: Path) -> None:
        self.files: Sequence[Path] = (path,)
        self._path = path
        try:
            with safe_open(path, framework="pt") as tensors:
                self.shapes: Mapping[str, tuple[int, ...]] = {
                    name: tuple(tensors.get_slice(name).get_shape())
                    for name in tensors.keys()  # noqa: SIM118 - not a mapping
                }
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: the weights cannot be read: {error}") from error

    def read(self, name: str) -> Tensor:
        try:
            with safe_open(self._path, framework="pt") as tensors:
                tensor: Tensor = tensors.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self._path}: {name} cannot be read: {error}") from error
        return tensor


class StateDictSource:
    """Tensors of a loaded torch pickle, memory-mapped if the format allows."""

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.files: Sequence[Path] = (path,)
        self._tensors = tensors
        self.shapes: Mapping[str, tuple[int, ...]] = {k: tuple(t.shape) for k, t in tensors.items()}

    def read(self, name: str) -> Tensor:
        return self._tensors[name].detach()


class TorchScriptSource:
    """Tensors of a TorchScript archive."""

    def __init__(self, path: Path) -> None:
        self.files: Sequence[Path] = (path,)
        self._path, self._tensors = path, torchscript_tensors(path)
        self.shapes: Mapping[str, tuple[int, ...]] = {k: t.shape for k, t in self._tensors.items()}

    def read(self, name: str) -> Tensor:
        return read_archived(self._path, self._tensors[name])


class ShardedSource:
    """Several shards as one source; one shard is open at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files: Sequence[Path] = tuple(paths)
        self._path_of: dict[str, Path] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for path in paths:
            source = open_weights_file(path)
            twice = sorted(source.shapes.keys() & shapes.keys())
            if twice:
                raise CheckpointError(f"{path}: {twice[0]} is also in another shard")
            shapes.update(source.shapes)
            self._path_of.update(dict.fromkeys(source.shapes, path))
        self.shapes: Mapping[str, tuple[int, ...]] = shapes
        self._open: tuple[Path, TensorSource] | None = None

    def read(self, name: str) -> Tensor:
        path = self._path_of[name]
        if self._open is None or self._open[0] != path:
            self._open = None
            self._open = (path, open_weights_file(path))
        return self._open[1].read(name)


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
            return ShardedSource(_indexed(path / name))
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
        return SafetensorsSource(path)
    if path.is_file() and is_torchscript(path):
        return TorchScriptSource(path)
    value = load_torch_file(path)
    if not isinstance(value, Mapping) or not value:
        raise CheckpointError(f"{path}: holds a {type(value).__name__}; expected named tensors")
    return StateDictSource(path, named_tensors(path, value))


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
