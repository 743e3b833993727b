"""The frozen encoders in training: in eval mode, float32, without gradients.

Batch features and cached features are the same up to the cache's float16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.spec import CheckpointSpec
from training.data.collator import Batch
from training.data.feature_cache import encoder_key


def media_features(
    batch: Batch, model: LammForConditionalGeneration, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Picture and cloud features [M, N, D] float32 of a batch, cached or encoded now."""
    images, clouds = batch.image_features, batch.point_features
    with torch.no_grad():
        if batch.pixel_values is not None:
            images = model.encode_image_features(batch.pixel_values.to(device))
        if batch.points is not None:
            clouds = model.encode_point_features(batch.points.to(device))
    return (
        None if images is None else images.to(device, torch.float32),
        None if clouds is None else clouds.to(device, torch.float32),
    )


@torch.no_grad()
def encode_media(
    model: LammForConditionalGeneration,
    device: torch.device,
    modality: Modality,
    media: Sequence[PreparedMedia],
) -> npt.NDArray[np.float32]:
    """Features [M, N, D] of prepared media of one modality."""
    inputs = torch.from_numpy(np.stack([medium.array for medium in media])).to(device)
    if modality is Modality.IMAGE:
        features = model.encode_image_features(inputs)
    else:
        features = model.encode_point_features(inputs)
    array: npt.NDArray[np.float32] = features.float().cpu().numpy()
    return array


def encoder_keys(model: LammForConditionalGeneration, spec: CheckpointSpec) -> dict[Modality, str]:
    """Digest of the encoder and preprocessing of each modality."""
    towers = {
        Modality.IMAGE: (model.vision_tower, spec.image),
        Modality.POINT_CLOUD: (model.point_tower, spec.points),
    }
    return {
        modality: encoder_key(tower, preprocessing)
        for modality, (tower, preprocessing) in towers.items()
        if tower is not None
    }
