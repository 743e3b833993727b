"""The decoding process: `python -m service.media.worker`.

Reads jobs from stdin and writes prepared arrays to stdout, one at a time, as length-prefixed frames
(JSON head, raw body; nothing is unpickled). A hostile file can at worst end this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from lamm_model.conversation import Modality
from lamm_model.formats.camera import Camera
from lamm_model.formats.errors import (
    MediaDecodeError,
    MediaError,
    MediaFormatError,
    MediaTooLargeError,
)
from lamm_model.media import (
    MediaLimits,
    PointCloud,
    PreparedMedia,
    decode_image,
    decode_point_cloud,
)
from lamm_model.preprocessing import prepare_image, prepare_point_cloud
from lamm_model.spec import ImageSpec, PointSpec
from service.media.base64_text import decode_base64
from service.media.overlay_cloud import BoxMark, overlay_ply
from service.media.overlay_picture import Mark, overlay_png

FRAME = struct.Struct("<IQ")
ERROR_KINDS: Mapping[str, type[MediaError]] = {
    "format": MediaFormatError,
    "too_large": MediaTooLargeError,
    "decode": MediaDecodeError,
}


def main() -> None:
    """Reports that it is ready, then answers jobs until stdin closes."""
    replies = _private_stdout()
    jobs = sys.stdin.buffer
    frame = read_frame(jobs)
    if frame is None:
        return
    config = frame[0]
    image = ImageSpec(**config["image"]) if config["image"] else None
    points = PointSpec(**config["points"]) if config["points"] else None
    limits = MediaLimits(**config["limits"])
    _limit_memory(config["memory_bytes"])
    write_frame(replies, {"ready": True}, b"")
    with contextlib.suppress(BrokenPipeError):  # the parent died in the middle of a job
        while (frame := read_frame(jobs)) is not None:
            write_frame(replies, *_answer(*frame, image, points, limits))
    _leave(Path(config["scratch"]))


def encode_head(head: Mapping[str, Any], body_size: int) -> bytes:
    """Lengths and head of a frame; the body follows unchanged."""
    text = json.dumps(head).encode()
    return FRAME.pack(len(text), body_size) + text


def write_frame(stream: BinaryIO, head: Mapping[str, Any], body: bytes) -> None:
    """Writes one frame and flushes."""
    stream.write(encode_head(head, len(body)))
    stream.write(body)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next frame, or None at the end of the stream."""
    lengths = stream.read(FRAME.size)
    if len(lengths) < FRAME.size:
        return None
    head_size, body_size = FRAME.unpack(lengths)
    head = json.loads(stream.read(head_size))
    return head, stream.read(body_size)


def _answer(
    job: Mapping[str, Any],
    text: bytes,
    image: ImageSpec | None,
    points: PointSpec | None,
    limits: MediaLimits,
) -> tuple[dict[str, Any], bytes]:
    """Head and body of the reply."""
    try:
        if "overlay" in job:
            return {}, _draw(job, text, limits)
        media = _prepare(job, text, image, points, limits)
        head = {"digest": media.digest, "shape": media.array.shape, "info": media.info}
        return head, media.array.tobytes()
    except MediaError as error:
        return {"error": _kind(error), "message": str(error)}, b""
    except Exception:
        # A defect of this code or of a library. Ending the process would delay other requests, and
        # anyone with such a file could force restarts all the time.
        traceback.print_exc()
        return {"error": "decode", "message": "the medium cannot be decoded; it is malformed"}, b""


def _prepare(
    job: Mapping[str, Any],
    text: bytes,
    image: ImageSpec | None,
    points: PointSpec | None,
    limits: MediaLimits,
) -> PreparedMedia:
    data = _content(job, text)
    try:
        if job["modality"] == Modality.IMAGE and image is not None:
            return prepare_image(data, image, limits)
        if job["modality"] == Modality.POINT_CLOUD and points is not None:
            return prepare_point_cloud(_cloud(job, data, limits), points)
    except MemoryError:
        raise MediaDecodeError("the medium needs more memory than the decoder's limit") from None
    raise MediaFormatError(f"no encoder for {job['modality']}")


def _draw(job: Mapping[str, Any], text: bytes, limits: MediaLimits) -> bytes:
    """The medium with the job's `overlay` drawn on it, as a PNG or PLY file."""
    data = _content(job, text)
    try:
        if job["modality"] == Modality.IMAGE:
            return overlay_png(
                decode_image(data, limits)[0], [Mark(**mark) for mark in job["overlay"]]
            )
        boxes = [BoxMark(**mark) for mark in job["overlay"]]
        return overlay_ply(_cloud(job, data, limits), boxes, job["cloud"]["units"])
    except MemoryError:
        raise MediaDecodeError("drawing needs more memory than the decoder's limit") from None


def _cloud(job: Mapping[str, Any], data: bytes, limits: MediaLimits) -> PointCloud:
    """The decoded cloud; `job["cloud"]` has the fields of `CloudFile`."""
    file = dict(job["cloud"])
    camera = file.pop("camera")
    known = None if camera is None else Camera(**camera)
    return decode_point_cloud(data, limits=limits, camera=known, **file)


def _content(job: Mapping[str, Any], text: bytes) -> bytes:
    return decode_base64(text) if job["is_base64"] else text


def _kind(error: MediaError) -> str:
    return next(kind for kind, known in ERROR_KINDS.items() if isinstance(error, known))


def _private_stdout() -> BinaryIO:
    """The pipe to the parent; file descriptor 1 is redirected, since libraries may print."""
    private = os.dup(1)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.close(sink)
    return os.fdopen(private, "wb")


def _leave(scratch: Path) -> None:
    # The parent removes them, unless it was killed. Only empty directories can be removed here.
    with contextlib.suppress(OSError):
        scratch.rmdir()
        scratch.parent.rmdir()


def _limit_memory(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
