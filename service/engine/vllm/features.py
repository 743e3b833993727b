"""Encodes projected features as vLLM expects precomputed image embeddings. Torch-free.

vLLM's token-in route takes, for each medium, a base64 string of msgpack: a map from a keyword of
the model's forward pass to its tensor and to the rule that batches it with those of other media. A
tensor is (dtype, shape, bytes as extension type 3). Format: vLLM 0.32, `vllm/v1/serial_utils.py`.

Shapes: N placeholder tokens, H hidden size.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

# vLLM's extension type of raw bytes.
_RAW = 3
# LLaVA's keyword for embeddings that are already projected.
_EMBEDS = "image_embeds"
# vLLM puts consecutive media of a step into one tensor, and its engine dies if their sizes differ.
# Media whose shared fields differ are never put together; LLaVA ignores a keyword it does not know.
_SIZE = "num_tokens"


@dataclass(frozen=True, slots=True)
class EncodedFeatures:
    """One medium's features as they are sent; `identity` is the key of vLLM's caches.

    The identity has the model as well as the content: projectors differ between models.
    """

    identity: str
    offset: int
    num_tokens: int
    payload: str


def encode_features(data: bytes, dtype: str, shape: tuple[int, int]) -> str:
    """The payload of features [N, H], given as bytes of torch's dtype of that name."""
    size = ("int64", (1,), msgpack.ExtType(_RAW, struct.pack("<q", shape[0])))
    features = (dtype, shape, msgpack.ExtType(_RAW, data))
    item = {
        _EMBEDS: {"data": features, "field": ("batched", {"keep_on_cpu": False})},
        _SIZE: {"data": size, "field": ("shared", {"keep_on_cpu": True, "batch_size": 1})},
    }
    packed: bytes = msgpack.packb(item)
    return base64.b64encode(packed).decode("ascii")


def feature_fields(media: Sequence[EncodedFeatures]) -> Mapping[str, Any]:
    """The request's `features`; clouds count as images, since LLaVA has no other modality."""
    return {
        "mm_hashes": {"image": [medium.identity for medium in media]},
        "mm_placeholders": {
            "image": [{"offset": one.offset, "length": one.num_tokens} for one in media]
        },
        "kwargs_data": {"image": [medium.payload for medium in media]},
    }
