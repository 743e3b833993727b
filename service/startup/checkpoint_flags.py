"""Resolves `--checkpoint` flags: reads the directories, and matches adapters with their bases.

Nothing here loads weights or torch. Only JSON files and tensor headers are read, so a wrong choice
of directories is reported before anything is loaded.

A flag is `DIR`, `NAME=DIR`, `ADAPTER@BASE` or `NAME=ADAPTER@BASE`. A directory with `adapter/` and
`base/`, as `lamm model convert` writes it, counts as both. A directory whose own name contains `=`
or `@` is taken literally.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lamm_model.checkpoint.adapters.options import base_digest, read_provenance
from lamm_model.spec import (
    ADAPTER_CONFIG,
    PROJECTORS,
    CheckpointError,
    CheckpointSpec,
    weights_digest,
)
from service.engine.loading.model_source import ModelSource

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


@dataclass(frozen=True, slots=True)
class Presets:
    """Replacements for each checkpoint's own presets; None keeps them (`CheckpointSpec`)."""

    prompt_preset: str | None = None
    image_preset: str | None = None
    prompt_pack: Path | None = None


@dataclass(frozen=True, slots=True)
class _Flag:
    """The parts of one `--checkpoint`."""

    name: str | None
    path: Path
    base: Path | None

    @property
    def is_adapter(self) -> bool:
        return (self.path / ADAPTER_CONFIG).is_file()


def read_checkpoint_flags(
    checkpoints: Sequence[str], served_model_name: str | None = None, presets: Presets | None = None
) -> tuple[ModelSource, ...]:
    """The models that the flags name, in order.

    An adapter without `@BASE` uses the checkpoint among the others that it was trained on.
    Directories with the same digest are one base.

    Args:
        served_model_name: name of the only checkpoint; takes precedence over the flag's own.
        presets: for all models; None keeps each checkpoint's own.

    Raises:
        CheckpointError: a directory is neither a checkpoint nor an adapter, an adapter's base is
            missing or not the one that it was trained on, or a preset or the prompt pack is
            unknown.
        ValueError: a name is given twice, or is not valid.
    """
    flags = [_parse(text) for text in checkpoints]
    if served_model_name is not None:
        if len(flags) != 1:
            raise ValueError(
                f"served_model_name is {served_model_name!r}, but there are {len(flags)} "
                "checkpoints; name each: --checkpoint NAME=DIR"
            )
        flags = [dataclasses.replace(flags[0], name=served_model_name)]
    bases = _Bases(presets or Presets())
    for flag in flags:
        if flag.base is not None:
            bases.read(flag.base)
        elif not flag.is_adapter:
            bases.read(flag.path)
    models = tuple(_model(flag, bases) for flag in flags)
    for index, model in enumerate(models):
        if any(model.name == other.name for other in models[:index]):
            raise ValueError(
                f"two checkpoints have the name {model.name!r}; name them: --checkpoint NAME=DIR"
            )
    return models


class _Bases:
    """Checkpoints by digest. Each directory is read once, since computing a digest may be slow."""

    def __init__(self, presets: Presets) -> None:
        self._presets = presets
        self._by_path: dict[Path, CheckpointSpec] = {}
        self._by_digest: dict[str, tuple[Path, CheckpointSpec]] = {}

    def read(self, path: Path) -> tuple[Path, CheckpointSpec]:
        """The checkpoint in that directory, and the first directory with the same digest."""
        resolved = path.resolve()
        if resolved not in self._by_path:
            spec = CheckpointSpec.from_pretrained(
                path,
                prompt_preset=self._presets.prompt_preset,
                image_preset=self._presets.image_preset,
                prompt_pack=self._presets.prompt_pack,
            )
            self._by_path[resolved] = spec
            self._by_digest.setdefault(spec.digest, (path, spec))
        # Checkpoints of one digest may differ in prompts, so each keeps its own spec.
        spec = self._by_path[resolved]
        return self._by_digest[spec.digest][0], spec

    def find(self, digest: str) -> tuple[Path, CheckpointSpec] | None:
        """The checkpoint with that digest, if one was read."""
        return self._by_digest.get(digest)


def _parse(text: str) -> _Flag:
    if Path(text).is_dir():
        return _of_directory(None, Path(text))
    name: str | None = None
    if "=" in text:
        name, text = text.split("=", 1)
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name[:64]!r} is not a valid model name; use letters, digits and ._:/- "
                "(--checkpoint NAME=DIR)"
            )
    if "@" in text and not Path(text).is_dir():
        adapter, base = text.rsplit("@", 1)
        return _Flag(name, Path(adapter), Path(base))
    return _of_directory(name, Path(text))


def _of_directory(name: str | None, path: Path) -> _Flag:
    pair = _Flag(name or path.resolve().name, path / "adapter", path / "base")
    return pair if pair.is_adapter else _Flag(name, path, None)


def _model(flag: _Flag, bases: _Bases) -> ModelSource:
    name = flag.name or flag.path.resolve().name
    if not flag.is_adapter:
        if flag.base is not None:
            raise CheckpointError(
                f"{flag.path}: {ADAPTER_CONFIG} not found; only an adapter takes a base "
                f"(@{flag.base})"
            )
        base, spec = bases.read(flag.path)
        return ModelSource(name, spec, base)
    provenance = read_provenance(flag.path)
    trained_on = base_digest(provenance)
    if flag.base is None:
        found = bases.find(trained_on)
        if found is None:
            raise CheckpointError(
                f"{flag.path} is an adapter of the base with digest {trained_on}, which is "
                f"not among the checkpoints; give its directory: {flag.path}@BASE"
            )
        base, spec = found
    else:
        base, spec = bases.read(flag.base)
        if spec.digest != trained_on:
            raise CheckpointError(
                f"{flag.path} is an adapter of the base with digest {trained_on}, but "
                f"{flag.base} has digest {spec.digest}"
            )
    return ModelSource(name, _adapted(spec, flag.path, provenance), base, flag.path)


def _adapted(spec: CheckpointSpec, adapter: Path, provenance: dict[str, Any]) -> CheckpointSpec:
    """The base's spec with the adapter's digest and the modalities that it projects."""
    try:
        with safe_open(adapter / PROJECTORS, framework="numpy") as stored:
            projectors = {key.partition(".")[0] for key in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{adapter}: cannot read {PROJECTORS}: {error}") from None
    identity = f"{spec.digest}+{weights_digest(adapter)}"
    return dataclasses.replace(
        spec,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        image=spec.image if "image_projector" in projectors else None,
        points=spec.points if "point_projector" in projectors else None,
        provenance=provenance,
    )
