"""Description of a checkpoint directory, read without torch.

The directory has the files that `LammForConditionalGeneration.save_pretrained` and
`LammProcessor.save_pretrained` write: `config.json`, `processor_config.json`, `tokenizer.json` and
`model*.safetensors`. `provenance.json` (from `lamm model merge`) and `prompt_pack.json` (from
`lamm model import-prompts`) are optional.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.conversation import STOP_RULES, Modality, PromptPreset, StopRule
from lamm_model.prompt_pack import PACK_FILE, PromptPack, PromptPackError
from lamm_model.system_texts import NORMAL_TASK, system_text

IMAGE_PRESETS = ("lamm-squash", "upstream-bench-centercrop")

PROVENANCE = "provenance.json"
# The other files of an adapter directory; the first two have PEFT's format.
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# Older PEFT wrote the same tensors as a pickle.
ADAPTER_PICKLE = "adapter_model.bin"
PROJECTORS = "projectors.safetensors"


class CheckpointError(ValueError):
    """A checkpoint directory cannot be used; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """Image preprocessing: `preset` makes `size` x `size` pixels, which take `num_tokens`."""

    size: int
    num_tokens: int
    preset: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PointSpec:
    """Point preprocessing: `num_points` are sampled per cloud, which takes `num_tokens`.

    `max_offset` [x, y, z] in metres is how far from the origin the clouds of the training data are:
    the middle of their bounding boxes along x and y, and their lowest point along z. A cloud that
    is farther away along an axis is moved to 0 along it. None moves no cloud.
    """

    num_points: int
    num_tokens: int
    use_color: bool
    seed: int
    max_offset: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """Sizes, presets and identity of one checkpoint.

    `image_token_id` and `point_token_id` are at or above `vocab_size`, so no text encodes to them.
    `digest` identifies the weights (from provenance.json, or computed from the safetensors files).
    `system_prompts` maps tasks to system texts for the preset: those of the prompt pack if it has
    them, otherwise the checkpoint's own.
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
        """Modalities for which the checkpoint has an encoder."""
        present = ((Modality.IMAGE, self.image), (Modality.POINT_CLOUD, self.points))
        return tuple(modality for modality, spec in present if spec is not None)

    def placeholder(self, modality: Modality) -> tuple[int, int]:
        """(token id, number of tokens) per medium.

        Raises:
            KeyError: the checkpoint has no encoder for the modality.
        """
        if modality is Modality.IMAGE and self.image is not None:
            return self.image_token_id, self.image.num_tokens
        if modality is Modality.POINT_CLOUD and self.points is not None:
            return self.point_token_id, self.points.num_tokens
        raise KeyError(modality)

    @property
    def stop_rule(self) -> StopRule:
        """What ends an answer under this prompt preset."""
        return STOP_RULES[self.prompt_preset]

    def system_text(self, task: str = NORMAL_TASK) -> str:
        """The system text of a task; that of `normal` for a task without one."""
        return system_text(self.system_prompts, self.prompt_preset, task)

    def system_texts(self, tasks: Iterable[str]) -> dict[str, str]:
        """The texts of `system_prompts`, and of those of `tasks` that have a text of their own."""
        normal = self.system_text()
        told = {task: self.system_text(task) for task in tasks}
        own = {task: text for task, text in told.items() if text != normal}
        return {**self.system_prompts, **own}

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        prompt_preset: PromptPreset | str | None = None,
        image_preset: str | None = None,
        prompt_pack: str | Path | None = None,
    ) -> CheckpointSpec:
        """Reads the directory's JSON files.

        Args:
            directory: the checkpoint.
            prompt_preset: overrides the checkpoint's prompt preset.
            image_preset: overrides the checkpoint's image preset; one of `IMAGE_PRESETS`. No effect
                without an image encoder.
            prompt_pack: path of a prompt pack; None uses the directory's `prompt_pack.json`, if it
                exists.

        Raises:
            CheckpointError: a file or a field is missing or malformed, or a preset is unknown.
        """
        path = Path(directory)
        config, processor = read_json(path, "config.json"), read_json(path, "processor_config.json")
        provenance = read_json(path, PROVENANCE) if (path / PROVENANCE).is_file() else {}
        if prompt_preset is not None:
            processor["prompt_preset"] = _known("prompt preset", prompt_preset, PromptPreset)
        if image_preset is not None:
            _known("image preset", image_preset, IMAGE_PRESETS)
            if isinstance(processor.get("image"), dict):
                processor["image"]["preset"] = image_preset
        pack = _pack(path, prompt_pack)
        try:
            return cls._from_json(path, config, processor, provenance, pack)
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
        pack: PromptPack | None,
    ) -> CheckpointSpec:
        if config["model_type"] != "lamm":
            raise ValueError(f"model_type is {config['model_type']!r}; expected 'lamm'")
        text = config["text_config"]
        eos = config.get("eos_token_id", text.get("eos_token_id"))
        image, points = processor.get("image"), processor.get("points")
        preset = PromptPreset(processor["prompt_preset"])
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
                max_offset=None
                if points.get("max_offset") is None
                else _triple(points["max_offset"]),
            ),
            prompt_preset=preset,
            system_prompts={**processor["system_prompts"], **_packed_prompts(pack, preset)},
            provenance=dict(provenance),
        )


def weights_digest(path: Path) -> str:
    """SHA-256 over the names and bytes of the directory's weights, in name order.

    These are its safetensors files, and the pickle of an adapter that older PEFT wrote.
    """
    files = sorted([*path.glob("*.safetensors"), *path.glob(ADAPTER_PICKLE)])
    if not files:
        raise CheckpointError(f"{path}: no .safetensors file found")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def read_json(directory: Path, name: str, kind: str = "a LAMM checkpoint") -> dict[str, Any]:
    """The JSON object in a file of `directory`; `kind` describes the directory in errors.

    Raises:
        CheckpointError: the file is missing, unreadable, or holds no JSON object.
    """
    try:
        value = json.loads((directory / name).read_text(encoding="utf8"))
    except (FileNotFoundError, NotADirectoryError):
        if not directory.is_dir():
            where = "" if directory.is_absolute() else f" in {Path.cwd()}"
            raise CheckpointError(f"{directory}: directory not found{where}") from None
        raise CheckpointError(f"{directory}: {name} is missing; is this {kind}?") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"{directory}: {name} is not valid JSON (line {error.lineno})"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory}: {name} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{directory}: {name} holds a {type(value).__name__}; expected a JSON object"
        )
    return value


def _known(what: str, name: str, names: Iterable[str]) -> str:
    known = [str(one) for one in names]
    if name not in known:
        raise CheckpointError(f"unknown {what} {name!r}; expected one of {', '.join(known)}")
    return str(name)


def _pack(path: Path, given: str | Path | None) -> PromptPack | None:
    file = path / PACK_FILE if given is None else Path(given)
    if given is None and not file.is_file():
        return None
    try:
        return PromptPack.read(file)
    except PromptPackError as error:
        raise CheckpointError(str(error)) from error


def _packed_prompts(pack: PromptPack | None, preset: PromptPreset) -> Mapping[str, str]:
    """The pack's system texts for a preset; the demo has a single text for all tasks."""
    if pack is None:
        return {}
    if preset.trains:
        return pack.train
    if preset is PromptPreset.UPSTREAM_BENCH:
        return pack.benchmark
    return {} if pack.cli is None else {"normal": pack.cli}


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third
