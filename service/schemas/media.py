"""The `media` block of a task's answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from lamm_model.conversation import Modality


class Transform(BaseModel):
    """How the picture was resized: pixel (x, y) is at (x, y) * scale - offset.

    `size` is the encoder's input; `squash` shows the whole picture, `centercrop` its centre.
    """

    kind: str
    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[int, int] = (0, 0)


class PictureMedia(BaseModel):
    """The picture: its size in pixels after applying its orientation, as viewers show it.

    `exif_orientation_applied` also tells of the orientation tag of TIFF, and of the rotation or
    reflection of HEIC and AVIF.
    """

    modality: Literal["image"] = Modality.IMAGE.value
    format: str
    width: int
    height: int
    exif_orientation_applied: bool
    transform: Transform


class MeshSurface(BaseModel):
    """A mesh by its triangles, larger polygons in parts.

    `dropped` of the `faces` have no area or a corner that is not finite.
    """

    faces: int
    dropped: int


class CloudMedia(BaseModel):
    """The cloud: metres along the axes of the file; `units` and `up_axis` as it was read.

    Of the `points_in` points of the file, `points_thinned` are left out because it has more than
    the server holds, and `points_dropped` of the others because their coordinates are not finite.
    The encoder saw `points_sampled` points, sampled with `seed`; some of them are repeated if
    `points_kept` is smaller. The model saw (coordinates + `shift`) * `scale`: georeferenced clouds,
    and clouds far from where the checkpoint was trained, are moved. `surface` is null unless the
    points were drawn from the surface of a mesh.
    """

    modality: Literal["point_cloud"] = Modality.POINT_CLOUD.value
    units: str
    up_axis: str
    points_in: int
    points_thinned: int = 0
    points_dropped: int
    points_kept: int
    points_sampled: int
    seed: int
    has_color: bool
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    center: tuple[float, float, float]
    shift: tuple[float, float, float]
    scale: float
    surface: MeshSurface | None = None
