"""Groups models into engines: those whose language models are identical, bit for bit.

An engine holds one language model and applies adapters per request. Bases that differ only in their
encoders (one for pictures and one for clouds over the same Vicuna) are recognised by comparing the
bytes of their language models, up to the first difference. Torch-free.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engine.loading.model_source import ModelSource

_LANGUAGE_MODEL = "language_model."
# Configuration entries that do not affect the network.
_NOTES = frozenset(
    {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
)
_MAX_HEADER_BYTES = 100 << 20
_COMPARED_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor's place in a file."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def group_models(models: Sequence[ModelSource]) -> tuple[tuple[ModelSource, ...], ...]:
    """The models, one group per engine, ordered by the first model of each group.

    Raises:
        CheckpointError: a base's weights cannot be read.
    """
    adapted = {model.base for model in models if model.adapter is not None}
    groups: list[list[ModelSource]] = []
    for model in models:
        for group in groups:
            bases = {member.base for member in group}
            # Merged checkpoints always differ, so only bases of adapters are compared.
            alike = model.base in bases or (
                {model.base, group[0].base} <= adapted
                and same_language_model(model.base, group[0].base)
            )
            if alike:
                group.append(model)
                break
        else:
            groups.append([model])
    return tuple(tuple(group) for group in groups)


def same_language_model(first: Path, second: Path) -> bool:
    """Whether two checkpoints have the same language model: configuration, tensors, every byte.

    False if a file cannot be parsed; loading it reports the error.
    """
    try:
        if _text_config(first) != _text_config(second):
            return False
        one, other = _language_tensors(first), _language_tensors(second)
        if {k: (t.dtype, t.shape) for k, t in one.items()} != {
            k: (t.dtype, t.shape) for k, t in other.items()
        }:
            return False
        return all(_same_bytes(one[key], other[key]) for key in sorted(one))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _text_config(path: Path) -> dict[str, Any]:
    config = json.loads((path / "config.json").read_text(encoding="utf8"))["text_config"]
    return {key: value for key, value in config.items() if key not in _NOTES}


def _language_tensors(path: Path) -> Mapping[str, _Stored]:
    tensors: dict[str, _Stored] = {}
    for file in sorted(path.glob("*.safetensors")):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise ValueError(
                    f"{file}: the header has {length} bytes; the limit is {_MAX_HEADER_BYTES}"
                )
            header = json.loads(stream.read(length))
        for key, entry in header.items():
            if key.startswith(_LANGUAGE_MODEL):
                start, end = (8 + length + int(offset) for offset in entry["data_offsets"])
                shape = tuple(int(size) for size in entry["shape"])
                tensors[key] = _Stored(str(entry["dtype"]), shape, file, start, end)
    return tensors


def _same_bytes(first: _Stored, second: _Stored) -> bool:
    size = first.end - first.start
    if size != second.end - second.start:
        return False
    with first.file.open("rb") as one, second.file.open("rb") as other:
        maps = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for file in (one, other)]
        try:
            for at in range(0, size, _COMPARED_BYTES):
                count = min(_COMPARED_BYTES, size - at)
                left = maps[0][first.start + at : first.start + at + count]
                if left != maps[1][second.start + at : second.start + at + count]:
                    return False
        finally:
            for mapped in maps:
                mapped.close()
    return True
