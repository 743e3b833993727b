"""LAMM as a Hugging Face model: exact round trips, checked placeholders, LAMM's own features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lamm_model.config import EpclConfig, LammConfig
from lamm_model.modeling import LammForConditionalGeneration, PlaceholderMismatchError

TEXT: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
POINT: dict[str, Any] = {
    "sa_num_points": [64, 16], "sa_radius": [0.2, 0.8], "sa_num_samples": [8, 16],
    "sa_mlp": [[16, 32], [32, 32]], "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_task_tokens": 3,
    "position_hidden_size": 16,
}  # fmt: skip
IMAGE_ID, POINT_ID = 300, 301


@pytest.fixture(scope="module")
def model() -> LammForConditionalGeneration:
    torch.manual_seed(0)
    config = LammConfig(text_config=TEXT, vision_config=VISION, point_config=POINT)
    model = LammForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call]
    return model


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = [1, 5, *[IMAGE_ID] * 16, 7, *[POINT_ID] * 16, 9]
    return {
        "input_ids": torch.tensor([ids]),
        "pixel_values": torch.randn(1, 3, 32, 32),
        "points": torch.rand(1, 128, 3),
    }


@torch.no_grad()
@pytest.mark.parametrize("modalities", [("vision",), ("point",), ("vision", "point"), ()])
def test_round_trip_is_exact(modalities: tuple[str, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LammConfig(
        text_config=TEXT,
        vision_config=VISION if "vision" in modalities else None,
        point_config=POINT if "point" in modalities else None,
    )
    before = LammForConditionalGeneration(config)
    before.eval()  # type: ignore[no-untyped-call]
    before.save_pretrained(tmp_path)
    after = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(after, LammForConditionalGeneration)
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, LammConfig)
    assert (config.image_token_id, config.point_token_id) == (IMAGE_ID, POINT_ID)
    assert (config.vision_config is None, config.point_config is None) == (
        "vision" not in modalities,
        "point" not in modalities,
    )
    saved, loaded = before.state_dict(), after.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)
    ids = torch.tensor([[1, 5, 6]])
    assert torch.equal(before(input_ids=ids).logits, after(input_ids=ids).logits)


@torch.no_grad()
def test_image_features_are_the_last_block_without_cls_and_norm(
    model: LammForConditionalGeneration, inputs: dict[str, torch.Tensor]
) -> None:
    tower = model.vision_tower
    assert tower is not None
    hidden = tower.pre_layrnorm(tower.embeddings(inputs["pixel_values"]))
    for layer in tower.encoder.layers:
        hidden = layer(hidden, None)
    found = model.encode_image_features(inputs["pixel_values"])
    assert found.shape == (1, 16, 32)
    assert torch.allclose(found, hidden[:, 1:], atol=1e-6)


@torch.no_grad()
def test_media_reach_the_logits_and_cached_features_equal_raw_media(
    model: LammForConditionalGeneration, inputs: dict[str, torch.Tensor]
) -> None:
    logits = model(**inputs).logits
    assert logits.shape == (1, 36, 300)
    other = model(**{**inputs, "pixel_values": inputs["pixel_values"] + 1}).logits
    assert not torch.allclose(logits[:, 20:], other[:, 20:])
    cached = model(
        input_ids=inputs["input_ids"],
        image_features=model.encode_image_features(inputs["pixel_values"]),
        point_features=model.encode_point_features(inputs["points"]),
    ).logits
    assert torch.equal(logits, cached)


@torch.no_grad()
def test_generate_with_and_without_cache_agree(
    model: LammForConditionalGeneration, inputs: dict[str, torch.Tensor]
) -> None:
    oracle: Any = model  # the mixin's types take transformers' own classes alone for `self`
    settings = {"max_new_tokens": 6, "do_sample": False}
    with_cache = oracle.generate(**inputs, **settings)
    without = oracle.generate(**inputs, **settings, use_cache=False)
    assert with_cache.tolist() == without.tolist()


def test_placeholders_are_counted_against_features(
    model: LammForConditionalGeneration, inputs: dict[str, torch.Tensor]
) -> None:
    short = inputs["input_ids"][:, 3:]
    with pytest.raises(PlaceholderMismatchError, match="15 image placeholders; expected 16"):
        model(**{**inputs, "input_ids": short})
    with pytest.raises(PlaceholderMismatchError, match="16 point placeholders; expected 0"):
        model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"])
    uneven = torch.tensor([[1, *[IMAGE_ID] * 20], [1, *[IMAGE_ID] * 12, *[5] * 8]])
    with pytest.raises(PlaceholderMismatchError, match="row 0 has 20 image placeholders"):
        model(input_ids=uneven, pixel_values=torch.randn(2, 3, 32, 32))


def test_clouds_of_other_columns_are_refused(model: LammForConditionalGeneration) -> None:
    with pytest.raises(ValueError, match=r"expected \[B, N, 3\]"):
        model.encode_point_features(torch.rand(1, 64, 6))


def test_placeholder_ids_within_the_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="299 and 301; expected at least the vocabulary size 300"):
        LammConfig(text_config=TEXT, image_token_id=299)


def test_epcl_configuration_is_checked() -> None:
    with pytest.raises(ValueError, match="expected equal lengths"):
        EpclConfig(**{**POINT, "sa_radius": [0.2]})
    with pytest.raises(ValueError, match="ends with 32 channels; expected hidden_size = 48"):
        EpclConfig(**{**POINT, "hidden_size": 48})


@torch.no_grad()
def test_points_keep_float32_coordinates_in_half_precision_weights() -> None:
    torch.manual_seed(0)
    config = LammConfig(text_config=TEXT, point_config=POINT)
    model = LammForConditionalGeneration(config).eval()  # type: ignore[no-untyped-call]
    points = torch.rand(1, 128, 3) + 50.0  # half precision is 3 cm coarse here
    full = model.encode_point_features(points)
    half = model.to(torch.bfloat16).encode_point_features(points)
    assert (full - half.float()).abs().max() < 0.15
