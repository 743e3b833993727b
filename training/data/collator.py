"""Examples become one padded batch.

Shapes: B rows, T tokens, M media of the batch in placeholder order, N tokens per medium, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamm_model.conversation import Modality
from lamm_model.processing import IGNORE_INDEX
from training.data.dataset import Example

# Padding is neither attended to nor trained on, so any id of the vocabulary will do.
_PAD_TOKEN_ID = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """`input_ids`, `attention_mask`, `labels` [B, T]; media as encoder inputs or as features.

    `pixel_values` [M, 3, S, S], `points` [M, P, 3 or 6]; `image_features`, `point_features`
    [M, N, D] float16. `names` identify the records in error messages.
    """

    names: tuple[str, ...]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    pixel_values: Tensor | None = None
    points: Tensor | None = None
    image_features: Tensor | None = None
    point_features: Tensor | None = None

    @property
    def answer_tokens(self) -> int:
        """Tokens that bear loss."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return int(self.attention_mask.sum())


def collate(examples: Sequence[Example]) -> Batch:
    """A right-padded batch, as in LAMM's training."""
    length = max(len(example.input_ids) for example in examples)
    shape = (len(examples), length)
    ids = np.full(shape, _PAD_TOKEN_ID, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORE_INDEX, dtype=np.int64)
    for row, example in enumerate(examples):
        count = len(example.input_ids)
        ids[row, :count], mask[row, :count] = example.input_ids, 1
        labels[row, :count] = example.labels
    return Batch(
        names=tuple(example.name for example in examples),
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        labels=torch.from_numpy(labels),
        pixel_values=_media(examples, Modality.IMAGE, encoded=False),
        points=_media(examples, Modality.POINT_CLOUD, encoded=False),
        image_features=_media(examples, Modality.IMAGE, encoded=True),
        point_features=_media(examples, Modality.POINT_CLOUD, encoded=True),
    )


def _media(examples: Sequence[Example], modality: Modality, *, encoded: bool) -> Tensor | None:
    arrays = [
        medium.array
        for example in examples
        for medium in example.media
        if medium.modality is modality and medium.encoded is encoded
    ]
    return torch.from_numpy(np.stack(arrays)) if arrays else None
