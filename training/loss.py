"""Loss of a batch and of a validation set."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lamm_model.modeling import LammForConditionalGeneration
from training.data.collator import Batch, collate
from training.data.dataset import InstructionDataset
from training.frozen_encoders import media_features

LOW_PRECISIONS: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingError(RuntimeError):
    """A run that cannot continue; the message names the step or the file."""


def batch_loss(
    model: LammForConditionalGeneration,
    batch: Batch,
    device: torch.device,
    precision: str,
    answer_tokens: int,
) -> Tensor:
    """Sum of the batch's token losses over `answer_tokens`, as a scalar to differentiate."""
    dtype = LOW_PRECISIONS.get(precision)
    images, clouds = media_features(batch, model, device)
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        loss: Tensor | None = model(
            input_ids=batch.input_ids.to(device),
            attention_mask=batch.attention_mask.to(device),
            image_features=images,
            point_features=clouds,
            labels=batch.labels.to(device),
            num_items_in_batch=answer_tokens,
            use_cache=False,
        ).loss
    if loss is None:
        raise TrainingError("the model returned no loss for the labels")
    return loss


@torch.no_grad()
def validation_loss(
    model: LammForConditionalGeneration,
    data: InstructionDataset,
    device: torch.device,
    precision: str,
    batch_size: int,
) -> float:
    """Mean loss per answer token over all records; the caller sets the model to eval mode."""
    order = data.lengths.argsort(kind="stable")
    total, tokens = 0.0, 0
    for start in range(0, len(order), batch_size):
        batch = collate([data[int(i)] for i in order[start : start + batch_size]])
        total += batch_loss(model, batch, device, precision, 1).item()
        tokens += batch.answer_tokens
    return total / tokens
