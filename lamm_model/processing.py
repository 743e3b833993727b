"""Conversations and media -> model inputs, for training and offline use.

`LammProcessor` tokenises through `conversation.render` and prepares media through `preprocessing`,
as the service does, so training and serving agree.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, CLIPVisionConfig

from lamm_model.config import EpclConfig, LammConfig
from lamm_model.conversation import (
    NORMAL_SYSTEM,
    Modality,
    PromptPreset,
    SpecialChunk,
    TextChunk,
    Turn,
    render,
)
from lamm_model.media import PointCloud, PreparedMedia
from lamm_model.preprocessing import prepare_image, prepare_point_cloud
from lamm_model.prompt_pack import PACK_FILE
from lamm_model.spec import CheckpointSpec
from lamm_model.system_texts import NORMAL_TASK
from lamm_model.tokenizer import LammTokenizer

IGNORE_INDEX = -100
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_FILES = ("processor_config.json", "tokenizer.json", "tokenizer_config.json", PACK_FILE)


class LammProcessor:
    """Tokenises conversations and prepares media according to `processor_config.json`."""

    def __init__(self, spec: CheckpointSpec, tokenizer: LammTokenizer) -> None:
        self.spec = spec
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        prompt_preset: PromptPreset | str | None = None,
        image_preset: str | None = None,
        prompt_pack: str | Path | None = None,
        **_: Any,
    ) -> LammProcessor:
        """Reads a checkpoint directory. Presets and pack override those of the directory.

        Raises:
            CheckpointError: a file or field is missing or malformed, or a preset is unknown.
        """
        path = Path(directory)
        spec = CheckpointSpec.from_pretrained(
            path, prompt_preset=prompt_preset, image_preset=image_preset, prompt_pack=prompt_pack
        )
        return cls(spec, LammTokenizer.from_pretrained(path))

    def save_pretrained(self, directory: str | Path) -> None:
        """Copies the files of the processor and the tokenizer into `directory`."""
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            source = self.spec.path / name
            if source.is_file() and source.resolve() != (target / name).resolve():
                shutil.copyfile(source, target / name)

    def __call__(
        self,
        text: str | Sequence[Turn],
        images: Sequence[Image.Image | bytes] = (),
        point_clouds: Sequence[PointCloud] = (),
        system: str | None = None,
    ) -> dict[str, Tensor]:
        """Inputs of one conversation for `generate`: `input_ids` [1, T] and the media tensors.

        A string is one question with all media before it.
        """
        media = (Modality.IMAGE,) * len(images) + (Modality.POINT_CLOUD,) * len(point_clouds)
        turns = [Turn(text, media=media)] if isinstance(text, str) else list(text)
        ids, _labels = self.encode_conversation(turns, system)
        inputs = {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        }
        if images:
            inputs["pixel_values"] = _stack([self.prepare_image(image) for image in images])
        if point_clouds:
            inputs["points"] = _stack([self.prepare_point_cloud(cloud) for cloud in point_clouds])
        return inputs

    def encode_conversation(
        self, turns: Sequence[Turn], system: str | None = None, task: str = NORMAL_TASK
    ) -> tuple[list[int], list[int]]:
        """Ids and labels of a conversation; labels are -100 except for answer tokens.

        `system=None` uses the checkpoint's system text of `task`.

        Raises:
            PromptError: the checkpoint's prompt preset cannot express the conversation.
        """
        if system is None:
            system = self.spec.system_text(task)
        ids, labels = [self.spec.bos_token_id], [IGNORE_INDEX]
        for chunk in render(turns, system, self.spec.prompt_preset):
            if isinstance(chunk, TextChunk):
                piece = self.tokenizer.encode(chunk.text)
                labels += piece if chunk.trains else [IGNORE_INDEX] * len(piece)
            elif isinstance(chunk, SpecialChunk):
                piece = self.tokenizer.special_ids(chunk)
                labels += piece
            else:
                token_id, count = self.spec.placeholder(chunk.modality)
                piece = [token_id] * count
                labels += [IGNORE_INDEX] * count
            ids += piece
        return ids, labels

    def prepare_image(self, image: Image.Image | bytes) -> PreparedMedia:
        """A picture as the encoder input [3, S, S].

        Raises:
            ValueError: the checkpoint has no image encoder.
        """
        if self.spec.image is None:
            raise ValueError("this checkpoint has no image encoder")
        return prepare_image(image, self.spec.image)

    def prepare_point_cloud(self, cloud: PointCloud) -> PreparedMedia:
        """A cloud as the encoder input [P, 3 or 6].

        Raises:
            ValueError: the checkpoint has no point encoder.
        """
        if self.spec.points is None:
            raise ValueError("this checkpoint has no point encoder")
        return prepare_point_cloud(cloud, self.spec.points)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids."""
        return self.tokenizer.decode(ids)


def write_processor_config(
    directory: str | Path,
    config: LammConfig,
    *,
    num_points: int | None = None,
    prompt_preset: PromptPreset = PromptPreset.LAMM_TRAIN,
    system_prompts: dict[str, str] | None = None,
    max_offset: tuple[float, float, float] | None = None,
) -> None:
    """Writes `processor_config.json` for the modalities of `config`; see `spec` for the fields.

    Raises:
        ValueError: `config` has a point encoder, but `num_points` is None.
    """
    image = points = None
    # LammConfig converts dictionaries to configuration objects.
    if config.vision_config is not None:
        assert isinstance(config.vision_config, CLIPVisionConfig)
        image = {
            "size": config.vision_config.image_size,
            "num_tokens": config.num_image_tokens,
            "preset": "lamm-squash",
            "mean": CLIP_MEAN,
            "std": CLIP_STD,
        }
    if config.point_config is not None:
        assert isinstance(config.point_config, EpclConfig)
        if num_points is None:
            raise ValueError("num_points is required for a checkpoint with a point encoder")
        points = {
            "num_points": num_points,
            "num_tokens": config.num_point_tokens,
            "use_color": config.point_config.use_color,
            "seed": 0,
            "max_offset": max_offset,
        }
    value = {
        "processor_class": "LammProcessor",
        "prompt_preset": prompt_preset.value,
        "system_prompts": system_prompts or {"normal": NORMAL_SYSTEM},
        "image": image,
        "points": points,
    }
    path = Path(directory) / "processor_config.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf8")
    os.replace(temporary, path)


def _stack(media: Sequence[PreparedMedia]) -> Tensor:
    return torch.from_numpy(np.stack([medium.array for medium in media]))


AutoProcessor.register(LammConfig, LammProcessor)
