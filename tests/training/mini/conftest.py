"""Pools of made-up products, words and furniture, from which lamm-mini's scenes are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from training.mini import corpus
from training.mini.scenes import clouds, pictures
from training.mini.sources import FURNITURE, Mesh


@pytest.fixture(scope="session")
def pools(tmp_path_factory: pytest.TempPathFactory) -> corpus.Pools:
    """Made-up products (filled rectangles), boxes for furniture, Pillow's own font."""
    rng = np.random.default_rng(0)
    products = np.zeros((40, 28, 28), np.uint8)
    for picture in products:
        x, y = rng.integers(2, 8, 2)
        picture[y : 26 - y, x : 26 - x] = rng.integers(120, 255)
    font = tmp_path_factory.mktemp("font") / "font.ttf"
    drawn = ImageFont.load_default(20)
    assert isinstance(drawn, ImageFont.FreeTypeFont)
    font.write_bytes(drawn.font_bytes)
    return corpus.Pools(
        pictures.ProductPool(products, np.arange(40, dtype=np.uint8) % 10),
        pictures.WordPool(["lamp", "chair", "bed", "window"], [font]),
        clouds.SurfacePool([_box_mesh(label) for label in FURNITURE], seed=0),
    )


def _box_mesh(label: str) -> Mesh:
    corners = np.array([[x, y, z] for x in (-0.4, 0.4) for y in (-0.3, 0.3) for z in (0.0, 0.9)])
    faces = np.array(
        [
            [0, 1, 3],
            [0, 3, 2],
            [4, 6, 7],
            [4, 7, 5],
            [0, 4, 5],
            [0, 5, 1],
            [2, 3, 7],
            [2, 7, 6],
            [0, 2, 6],
            [0, 6, 4],
            [1, 5, 7],
            [1, 7, 3],
        ]
    )
    return Mesh("Box", label, "nobody", corners, faces)
