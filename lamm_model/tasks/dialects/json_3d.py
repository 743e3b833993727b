"""`bbox_3d` in JSON: centre and size in metres, then nothing, a yaw in radians, or three angles.

Qwen3-VL writes nine numbers with angles in half turns (cookbooks/3d_grounding.ipynb of
https://github.com/QwenLM/Qwen3-VL), Gemini `box_3d` with angles in degrees.
"""

from __future__ import annotations

from lamm_model.tasks.dialects.base import Dialect, Telling
from lamm_model.tasks.dialects.json_text import read_json

KEYS = {"bbox_3d": (6, 7, 9), "box_3d": (6, 7, 9)}


def _read(text: str) -> Telling | None:
    return read_json(text, KEYS)


DIALECTS = (
    Dialect(
        "json-3d",
        "Qwen3-VL and others with boxes in space",
        '[{"bbox_3d": [1.25, -0.4, 0.35, 2.1, 0.9, 0.8, 0, 0, 0], "label": "sofa"}]',
        _read,
        marks=('"bbox_3d"', '"box_3d"'),
    ),
)
