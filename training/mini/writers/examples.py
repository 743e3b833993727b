"""Writes the media of `examples/`: held-out pictures, a rendered word, a chair (CC0) as a cloud.

Pictures are enlarged to 256 x 256 so that people see something; the service squashes them back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.mini import corpus
from training.mini.scenes import clouds, pictures
from training.mini.sources import PRODUCTS, Mesh
from training.mini.writers.instruction_records import write_atomic

_SHOWN = 256
_POINTS = 4096


def write_examples(pools: corpus.Pools, chair: Mesh, out: Path) -> None:
    """Writes coat.png, products.png, word.png and chair.ply to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    products = pools.products
    coat = int(products.by_label[PRODUCTS.index("coat")][2])
    scenes = {
        "coat": pictures.alone(products, np.random.default_rng(3), coat),
        "products": pictures.scene(products, np.random.default_rng(18), 3),
        "word": pictures.word(pools.words, np.random.default_rng(16)),
    }
    for name, scene in scenes.items():
        shown = Image.fromarray(scene.picture).resize((_SHOWN, _SHOWN), Image.Resampling.BICUBIC)
        shown.save(out / f"{name}.png.tmp", "PNG")
        (out / f"{name}.png.tmp").replace(out / f"{name}.png")
    points = clouds.sample_surface(chair, _POINTS, np.random.default_rng(0))
    write_atomic(out / "chair.ply", ply_bytes(points))


def ply_bytes(points: npt.NDArray[np.float32]) -> bytes:
    """Points [N, 3] in metres as an ASCII PLY, millimetre precision."""
    header = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    return (header + "".join(f"{x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in points)).encode()
