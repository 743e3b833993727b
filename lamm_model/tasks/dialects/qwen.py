"""Qwen-VL: `bbox_2d` and `point_2d` in JSON, and box tokens before that.

Qwen2-VL and Qwen3-VL write thousandths, Qwen2.5-VL pixels of the picture after its resizing
(https://github.com/QwenLM/Qwen3-VL). GLM-V writes JSON with thousandths too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from lamm_model.tasks.dialects.base import Dialect, Frame, Telling, shown
from lamm_model.tasks.dialects.json_text import read_json
from lamm_model.tasks.dialects.marked_text import Marked
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.reading.coordinates import Size

KEYS = {"bbox_2d": (4,), "point_2d": (2,), "bbox": (4,), "point": (2,)}
# Sides are multiples of 28 pixels, and the area is bounded (preprocessor_config.json).
_STEP, _LEAST, _MOST = 28, 3136, 12_845_056
_RUN = re.compile(r"(?:<\|box_start\|>[^<]{0,200}<\|box_end\|>\s*,?\s*)+")
_BOX = re.compile(r"<\|box_start\|>([^<]*)<\|box_end\|>")
_POINT = re.compile(r"\(\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\)")
_LABEL = re.compile(r"<\|object_ref_start\|>([^<]*)<\|object_ref_end\|>")


def seen_size(size: Size) -> Size:
    """The size of a picture of `size` (width, height) after Qwen2.5-VL's resizing."""
    width, height = (max(_STEP, round(side / _STEP) * _STEP) for side in size)
    area = size[0] * size[1]
    if width * height > _MOST:
        ratio = math.sqrt(area / _MOST)
        width, height = (max(_STEP, math.floor(s / ratio / _STEP) * _STEP) for s in size)
    elif width * height < _LEAST:
        ratio = math.sqrt(_LEAST / area)
        width, height = (math.ceil(side * ratio / _STEP) * _STEP for side in size)
    return width, height


def _places(run: str) -> Iterator[Numbers | str]:
    for box in _BOX.finditer(run):
        corners = [(float(x), float(y)) for x, y in _POINT.findall(box[1])]
        if len(corners) in {1, 2}:
            yield tuple(value for corner in corners for value in corner)
        else:
            yield f"{shown(box[0])} has {len(corners)} corners; expected 2"


_TOKENS = Marked(_RUN, _places, label=_LABEL)


def _read(text: str) -> Telling | None:
    return _TOKENS.read(text) or read_json(text, KEYS)


def _read_tokens(text: str) -> Telling | None:
    return _TOKENS.read(text)


_JSON = '[{"bbox_2d": [139, 768, 315, 954], "label": "cat"}]'
DIALECTS = (
    Dialect(
        "qwen2-vl",
        "Qwen-VL, Qwen2-VL",
        "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(139,768),(315,954)<|box_end|>",
        _read_tokens,
        Frame.PER_MILLE,
        marks=("<|box_start|>",),
    ),
    Dialect("qwen2.5-vl", "Qwen2.5-VL", _JSON, _read, Frame.PIXELS, seen=seen_size),
    Dialect("qwen3-vl", "Qwen3-VL, GLM-4.5V", _JSON, _read, Frame.PER_MILLE),
)
