"""A tiny random base checkpoint and 20 records, to try the whole chain in seconds.

`base: tiny` in a recipe makes them. The model is random: it shows that training, merging and
serving work, and can memorise its 20 records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPVisionConfig, LlamaConfig

from lamm_model.checkpoint.atomic import atomic_directory
from lamm_model.config import EpclConfig, LammConfig
from lamm_model.conversation import NORMAL_SYSTEM
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import write_processor_config
from training.config import DataSource

_VOCAB_SIZE = 384
_NUM_POINTS = 64
_COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 220),
    "yellow": (230, 210, 40),
    "white": (240, 240, 240),
}
_SHAPES = {
    "ball": (0.5, 0.5, 0.5),
    "rod": (0.1, 0.1, 1.0),
    "plate": (1.0, 1.0, 0.05),
    "beam": (1.5, 0.1, 0.1),
    "dot": (0.05, 0.05, 0.05),
}


def make_tiny_base(directory: Path, seed: int = 0) -> None:
    """Writes a random checkpoint (about 1 MB) for pictures (32 px) and clouds (64 points)."""
    config = LammConfig(
        text_config=LlamaConfig(
            vocab_size=_VOCAB_SIZE,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            tie_word_embeddings=False,
            # Large enough that LoRA alone can fit a random model to any answer.
            initializer_range=0.2,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        ),
        point_config=EpclConfig(
            sa_num_points=[16, 8],
            sa_radius=[0.4, 1.0],
            sa_num_samples=[4, 4],
            sa_mlp=[[16, 32], [32, 32]],
            position_hidden_size=16,
            num_task_tokens=2,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LammForConditionalGeneration(config)
    with atomic_directory(directory, replace=True) as folder:
        model.save_pretrained(folder)
        write_processor_config(folder, config, num_points=_NUM_POINTS)
        _tokenizer().save(str(folder / "tokenizer.json"))


def make_tiny_records(directory: Path) -> DataSource:
    """Writes 10 pictures of one colour, 10 clouds of one shape, and `records.json` about them."""
    rng = np.random.default_rng(0)
    with atomic_directory(directory, replace=True) as folder:
        records = [*_pictures(folder, rng), *_clouds(folder, rng)]
        (folder / "records.json").write_text(json.dumps(records, indent=1), encoding="utf8")
    return DataSource(path=directory / "records.json")


def _pictures(folder: Path, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for number in range(10):
        colour, rgb = list(_COLOURS.items())[number % len(_COLOURS)]
        pixels = np.array(rgb) + rng.integers(-15, 16, (48, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        yield {
            "id": f"picture-{number}",
            "image": f"{number}.png",
            "task_type": "VQA",
            "conversations": _conversation(
                ("<image>\nWhat colour is it?", f"It is {colour}."),
                ("Is it a picture or a cloud?", "A picture."),
            ),
        }


def _clouds(folder: Path, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for number in range(10):
        shape, size = list(_SHAPES.items())[number % len(_SHAPES)]
        xyz = rng.uniform(-1, 1, (100, 3)) * np.array(size)
        np.save(folder / f"{number}.npy", xyz.astype(np.float32))
        yield {
            "id": f"cloud-{number}",
            "pcl": f"{number}.npy",
            "task_type": "classification3d",
            "conversations": _conversation(("<pcl>\nWhat shape is it?", f"It is a {shape}.")),
        }


def _conversation(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [
        {"from": role, "value": value}
        for turn in turns
        for role, value in zip(("human", "gpt"), turn, strict=True)
    ]


def _tokenizer() -> Tokenizer:
    """Byte-level BPE, which encodes any text without loss."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCAB_SIZE,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [NORMAL_SYSTEM, "### Human: <Img></Img> What is it?\n### Assistant: It is red.\n###"]
    tokenizer.train_from_iterator(texts * 4, trainer)
    return tokenizer
