"""The exported image processor makes the pixel values that LAMM makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from lamm_model.checkpoint.export.llava.processor import image_processor_config
from lamm_model.preprocessing import prepare_image
from lamm_model.spec import CheckpointSpec, ImageSpec

MINI = Path(__file__).parents[4] / "checkpoints" / "lamm-mini"
SIZES = [(64, 64), (50, 77), (480, 640), (31, 500), (224, 336), (9, 8), (1, 300), (301, 223)]


def spec(preset: str) -> ImageSpec:
    image = CheckpointSpec.from_pretrained(MINI).image
    assert image is not None
    return replace(image, preset=preset)


def pixels(picture: Image.Image, image: ImageSpec) -> np.ndarray:
    config = image_processor_config(image)
    config.pop("image_processor_type")
    values = CLIPImageProcessorPil(**config)(picture, return_tensors="np")["pixel_values"][0]
    return np.asarray(values)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_squashed_picture_is_equal(size: tuple[int, int], mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture, image = Image.fromarray(noise).convert(mode), spec("lamm-squash")
    expected = prepare_image(picture, image).array
    assert expected.std() > 0.1
    assert np.array_equal(pixels(picture, image), expected)


def test_a_cropped_picture_is_equal_but_for_one_pixel_of_some_sizes() -> None:
    image, rng = spec("upstream-bench-centercrop"), np.random.default_rng(1)
    for longer in range(64, 100):
        picture = Image.fromarray(rng.integers(0, 256, (64, longer, 3), dtype=np.uint8))
        found, expected = pixels(picture, image), prepare_image(picture, image).array
        if (longer - 64) % 4 != 3:
            assert np.array_equal(found, expected), longer
        else:
            assert np.array_equal(found[:, :, 1:], expected[:, :, :-1]), longer
