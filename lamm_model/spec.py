"""What a checkpoint directory is, read without torch: the service plans requests from it.

The directory is what `LammForConditionalGeneration.save_pretrained` and
`LammProcessor.save_pretrained` write: `config.json`, `processor_config.json`, `tokenizer.json`,
`model*.safetensors`, and `provenance.json` (written by `lamm model merge`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.conversation import Modality, PromptPreset


class CheckpointError(ValueError):
    """A checkpoint directory that cannot be served; the message says which file, and why."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """How pictures enter: squashed to `size` x `size` pixels, `num_tokens` placeholders each."""

    size: int
    num_tokens: int
    preset: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PointSpec:
    """How clouds enter: `num_points` sampled points, `num_tokens` placeholders each."""

    num_points: int
    num_tokens: int
    use_color: bool
    seed: int


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """Sizes, presets and identity of one checkpoint.

    `image_token_id` and `point_token_id` lie at or above `vocab_size`: no text can spell them.
    `digest` identifies the weights (from provenance.json, else of the safetensors bytes).
    """

    path: Path
    digest: str
    vocab_size: int
    max_model_len: int
    bos_token_id: int
    eos_token_ids: tuple[int, ...]
    image_token_id: int
    point_token_id: int
    image: ImageSpec | None
    points: PointSpec | None
    prompt_preset: PromptPreset
    system_prompts: Mapping[str, str]
    provenance: Mapping[str, Any]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Media that this checkpoint has an encoder for."""
        present = ((Modality.IMAGE, self.image), (Modality.POINT_CLOUD, self.points))
        return tuple(modality for modality, spec in present if spec is not None)

    def placeholder(self, modality: Modality) -> tuple[int, int]:
        """(token id, number of tokens) of one medium.

        Raises:
            KeyError: the checkpoint has no encoder for it.
        """
        if modality is Modality.IMAGE and self.image is not None:
            return self.image_token_id, self.image.num_tokens
        if modality is Modality.POINT_CLOUD and self.points is not None:
            return self.point_token_id, self.points.num_tokens
        raise KeyError(modality)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> CheckpointSpec:
        """Reads the directory's JSON files.

        Raises:
            CheckpointError: a file or a field is missing or malformed.
        """
        path = Path(directory)
        config, processor = _read(path, "config.json"), _read(path, "processor_config.json")
        provenance = _read(path, "provenance.json") if (path / "provenance.json").is_file() else {}
        try:
            return cls._from_json(path, config, processor, provenance)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: config.json or processor_config.json: {error!r}"
            ) from error

    @classmethod
    def _from_json(
        cls,
        path: Path,
        config: Mapping[str, Any],
        processor: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> CheckpointSpec:
        if config["model_type"] != "lamm":
            raise ValueError(f"model_type is {config['model_type']!r}, not 'lamm'")
        text = config["text_config"]
        eos = config.get("eos_token_id", text.get("eos_token_id"))
        image, points = processor.get("image"), processor.get("points")
        return cls(
            path=path,
            digest=str(provenance.get("digest") or weights_digest(path)),
            vocab_size=int(text["vocab_size"]),
            max_model_len=int(text["max_position_embeddings"]),
            bos_token_id=int(config.get("bos_token_id", text.get("bos_token_id"))),
            eos_token_ids=tuple(eos)
            if isinstance(eos, list)
            else ()
            if eos is None
            else (int(eos),),
            image_token_id=int(config["image_token_id"]),
            point_token_id=int(config["point_token_id"]),
            image=None
            if image is None
            else ImageSpec(
                size=int(image["size"]),
                num_tokens=int(image["num_tokens"]),
                preset=str(image["preset"]),
                mean=_triple(image["mean"]),
                std=_triple(image["std"]),
            ),
            points=None
            if points is None
            else PointSpec(
                num_points=int(points["num_points"]),
                num_tokens=int(points["num_tokens"]),
                use_color=bool(points["use_color"]),
                seed=int(points["seed"]),
            ),
            prompt_preset=PromptPreset(processor["prompt_preset"]),
            system_prompts=dict(processor["system_prompts"]),
            provenance=dict(provenance),
        )


def weights_digest(path: Path) -> str:
    """SHA-256 over the names and bytes of the directory's safetensors files, in name order."""
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{path}: no .safetensors file")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((path / name).read_text(encoding="utf8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: {name} is missing; is this a LAMM checkpoint?") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: {name} is not JSON (line {error.lineno})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: {name} holds a {type(value).__name__}, not an object")
    return value


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third
