"""What was done to the media of a chat request, beside its answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from lamm_model.conversation import Modality
from service.schemas.media import MeshSurface, Transform


def _is_none(value: Any) -> bool:
    return value is None


# A field that is left out of the body where there is nothing to tell.
WhereTold = Field(exclude_if=_is_none)


class PictureFacts(BaseModel):
    """A picture; `transform` is told if parts of it were cut off.

    Fields mean the same as in the `media` of a task's answer. `note` tells them in words.
    """

    modality: Literal["image"] = Modality.IMAGE.value
    note: Annotated[str | None, WhereTold] = None
    exif_orientation_applied: Annotated[Literal[True] | None, WhereTold] = None
    transform: Annotated[Transform | None, WhereTold] = None


class CloudFacts(BaseModel):
    """A point cloud; `points_in` is told beside the numbers of points that were left out.

    Fields mean the same as in the `media` of a task's answer. `note` tells them in words.
    """

    modality: Literal["point_cloud"] = Modality.POINT_CLOUD.value
    note: Annotated[str | None, WhereTold] = None
    up_axis: Annotated[str | None, WhereTold] = None
    points_in: Annotated[int | None, WhereTold] = None
    points_thinned: Annotated[int | None, WhereTold] = None
    points_dropped: Annotated[int | None, WhereTold] = None
    shift: Annotated[tuple[float, float, float] | None, WhereTold] = None
    scale: Annotated[float | None, WhereTold] = None
    surface: Annotated[MeshSurface | None, WhereTold] = None


MediaFacts = Annotated[
    list[Annotated[PictureFacts | CloudFacts, Field(discriminator="modality")]] | None,
    Field(
        exclude_if=_is_none,
        description="the request's media in order, each with what was done to it; left out if "
        "nothing was",
    ),
]
