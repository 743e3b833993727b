"""What was done to a request's media: the parts of their `info` that are not as in most requests.

Resizing a picture and sampling a cloud are no such facts, since every medium is resized or sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from service.schemas.media import MeshSurface, Transform
from service.schemas.media_facts import CloudFacts, MediaFacts, PictureFacts


def along_file(point: Sequence[float], up_axis: str) -> list[float]:
    """Metres with z up -> metres along the axes of a file with this `up_axis`."""
    x, y, z = point
    return [x, z, -y] if up_axis == "y" else [x, y, z]


def media_facts(media: Sequence[PreparedMedia]) -> MediaFacts:
    """One entry per medium, in order; None if nothing happened to any of them."""
    found = [
        _picture(one.info) if one.modality is Modality.IMAGE else _cloud(one.info) for one in media
    ]
    return found if any(one.note is not None for one in found) else None


def _picture(info: Mapping[str, Any]) -> PictureFacts:
    turned = info["exif_orientation_applied"] or None
    transform = Transform(**info["transform"])
    is_cut = transform.offset != (0, 0)
    notes = ["turned upright as its file says"] if turned else []
    if is_cut:
        notes.append(f"cropped to its centre of {_square(transform)}")
    return PictureFacts(
        note=_joined(notes),
        exif_orientation_applied=turned,
        transform=transform if is_cut else None,
    )


def _square(transform: Transform) -> str:
    width, height = (
        round(side / scale) for side, scale in zip(transform.size, transform.scale, strict=True)
    )
    return f"{width} x {height} pixels"


def _cloud(info: Mapping[str, Any]) -> CloudFacts:
    axis, surface = info["up_axis"], info["surface"]
    thinned, dropped = info["points_thinned"] or None, info["points_dropped"] or None
    shift = tuple(along_file(info["shift"], axis)) if any(info["shift"]) else None
    facts = CloudFacts(
        up_axis=axis if axis != "z" else None,
        points_in=info["points_in"] if thinned or dropped else None,
        points_thinned=thinned,
        points_dropped=dropped,
        shift=shift,
        scale=info["scale"] if info["scale"] != 1 else None,
        surface=None if surface is None else MeshSurface(**surface),
    )
    return facts.model_copy(update={"note": _joined(_cloud_notes(facts))})


def _cloud_notes(facts: CloudFacts) -> list[str]:
    notes = []
    if facts.up_axis:
        notes.append(f"read with {facts.up_axis} up")
    if facts.surface:
        notes.append(f"sampled from the surface of a mesh of {facts.surface.faces} faces")
        if facts.surface.dropped:
            notes.append(f"{facts.surface.dropped} of the faces left out, which have no surface")
    if facts.points_thinned:
        notes.append(
            f"{facts.points_thinned} of {facts.points_in} points left out, more than are held"
        )
    if facts.points_dropped:
        notes.append(
            f"{facts.points_dropped} of {facts.points_in} points left out, not finite or not valid"
        )
    if facts.shift:
        notes.append(f"moved by ({', '.join(f'{by:.6g}' for by in facts.shift)}) m")
    if facts.scale:
        notes.append(f"scaled by {facts.scale:.6g}")
    return notes


def _joined(notes: Sequence[str]) -> str | None:
    return "; ".join(notes) or None
