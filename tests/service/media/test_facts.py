"""Facts of media whose preprocessing the other tests' checkpoint does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from lamm_model.preprocessing import prepare_image
from lamm_model.spec import ImageSpec
from service.media.facts import media_facts
from service.schemas.media_facts import PictureFacts

CLOUD: dict[str, Any] = {
    "points_in": 500, "points_thinned": 0, "points_dropped": 0, "shift": [0.0, 0.0, 0.0],
    "scale": 1.0, "up_axis": "z", "surface": None,
}  # fmt: skip


def cloud(**facts: Any) -> PreparedMedia:
    return PreparedMedia(Modality.POINT_CLOUD, "", np.zeros((1, 3), np.float32), {**CLOUD, **facts})


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"points_thinned": 200}, "200 of 500 points left out, more than are held"),
        ({"scale": 0.5}, "scaled by 0.5"),
        ({"shift": [0.0, 0.0, -2.5]}, "moved by (0, 0, -2.5) m"),
        ({"surface": {"faces": 9, "dropped": 0}}, "sampled from the surface of a mesh of 9 faces"),
        (
            {"surface": {"faces": 9, "dropped": 2}},
            "sampled from the surface of a mesh of 9 faces; 2 of the faces left out, which have no "
            "surface",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_fact_of_a_cloud(facts: dict[str, Any], note: str) -> None:
    found = media_facts([cloud(**facts)])
    assert found is not None
    told = found[0].model_dump()
    assert told["note"] == note
    [(name, value)] = facts.items()
    assert told[name] == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(("size", "is_told"), [((60, 30), True), ((30, 30), False)])
def test_a_crop_that_cuts_is_told(size: tuple[int, int], is_told: bool) -> None:
    spec = ImageSpec(
        size=15, num_tokens=1, preset="upstream-bench-centercrop", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    prepared = prepare_image(Image.new("RGB", size), spec)
    found = media_facts([prepared])
    assert (found is not None) == is_told
    if found is not None:
        [told] = found
        assert isinstance(told, PictureFacts)
        assert told.note == "cropped to its centre of 30 x 30 pixels"
        assert told.transform is not None
        assert told.transform.offset == (8, 0)
