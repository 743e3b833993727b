"""`processor_config.json` and `preprocessor_config.json`: LAMM's preprocessing in LLaVA's terms."""

from __future__ import annotations

from typing import Any

from transformers import CLIPVisionConfig

from lamm_model.checkpoint.export.llava.tokenizer import IMAGE_TOKEN
from lamm_model.spec import ImageSpec

_BICUBIC = 3


def image_processor_config(image: ImageSpec) -> dict[str, Any]:
    """CLIP's image processor, set to resize and normalise as `prepare_image` does."""
    square = {"height": image.size, "width": image.size}
    squash = image.preset == "lamm-squash"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if squash else {"shortest_edge": image.size},
        "resample": _BICUBIC,
        "do_center_crop": not squash,
        # Also read when nothing is cropped: the number of tokens follows from it.
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }


def processor_config(image: ImageSpec, vision: CLIPVisionConfig) -> dict[str, Any]:
    """LLaVA's processor: it writes one placeholder a patch, as `vision_feature_select_strategy`
    leaves out the class token.
    """
    return {
        "processor_class": "LlavaProcessor",
        "image_processor": image_processor_config(image),
        "image_token": IMAGE_TOKEN,
        "num_additional_image_tokens": 1,
        "patch_size": vision.patch_size,
        "vision_feature_select_strategy": "default",
    }
