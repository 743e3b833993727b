"""Configurations of lamm-mini's encoders and language model."""

from __future__ import annotations

from transformers import CLIPVisionConfig, LlamaConfig

from lamm_model.config import EpclConfig
from training.mini.scenes.pictures import SIZE


def vision_config() -> CLIPVisionConfig:
    """64 patches of 8 x 8 pixels, 5 layers of width 160."""
    return CLIPVisionConfig(
        hidden_size=160,
        intermediate_size=640,
        num_hidden_layers=5,
        num_attention_heads=5,
        image_size=SIZE,
        patch_size=8,
        hidden_act="gelu",
    )


def point_config() -> EpclConfig:
    """64 tokens from 1,024 points, 3 layers of width 128."""
    return EpclConfig(
        sa_num_points=[256, 64],
        sa_radius=[0.2, 0.6],
        sa_num_samples=[16, 24],
        sa_mlp=[[32, 64], [96, 128]],
        position_hidden_size=64,
        num_task_tokens=4,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act="gelu",
    )


def text_config(vocab_size: int) -> LlamaConfig:
    """5 layers of width 192, context 1,024."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=False,
    )
