"""Writes the media of `examples/`: held-out pictures, a rendered word, a chair (CC0) as a cloud.

Pictures are enlarged to 256 x 256 for human viewers; the service resizes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.mini import corpus
from training.mini.scenes import clouds, pictures
from training.mini.sources import PRODUCTS, Mesh
from training.mini.writers.media_files import ply_bytes, png_bytes, write_atomic

_SHOWN = 256
_POINTS = 4096


def write_examples(pools: corpus.Pools, chair: Mesh, out: Path) -> None:
    """Writes coat.png, products.png, word.png and chair.ply to `out`."""
    products = pools.products
    coat = int(products.by_label[PRODUCTS.index("coat")][2])
    scenes = {
        "coat": pictures.alone(products, np.random.default_rng(3), coat),
        "products": pictures.scene(products, np.random.default_rng(18), 3),
        "word": pictures.word(pools.words, np.random.default_rng(16)),
    }
    for name, scene in scenes.items():
        shown = Image.fromarray(scene.picture).resize((_SHOWN, _SHOWN), Image.Resampling.BICUBIC)
        write_atomic(out / f"{name}.png", png_bytes(np.asarray(shown)))
    points = clouds.sample_surface(chair, _POINTS, np.random.default_rng(0))
    write_atomic(out / "chair.ply", ply_bytes(points))
