"""OpenAI messages become the turns of a LAMM conversation and a list of media.

Nothing is fetched or decoded here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import CloudFile
from lamm_model.formats.pictures.picture_formats import PICTURE_SUFFIXES
from lamm_model.media import POINT_CLOUD_SUFFIXES, MediaFormatError
from service.exceptions import MediaRefusedError, RequestError
from service.files.store import StoredFile
from service.media.headers import Base64Bytes, FileBytes, kind_of_bytes
from service.media.item import MediaItem
from service.media.sources import MediaAccess, MediaSource, Upload, read_data_url
from service.plan.turns import Conversation, TurnReader
from service.schemas.messages import (
    ChatMessage,
    FilePart,
    ImagePart,
    MediaPart,
    RefusalPart,
    TextPart,
)

_WITH_MEDIA = ("user", "tool", "function")


def count_characters(messages: Sequence[ChatMessage]) -> int:
    """Characters of all texts, without media; cheap at any length."""
    return sum(len(text) for message in messages for text in _texts(message))


def count_media(messages: Sequence[ChatMessage]) -> Counter[Modality | None]:
    """Pictures and clouds of all messages; under None stored files, which are not looked up."""
    contents = (one.content for one in messages if not isinstance(one.content, str))
    parts = (part for content in contents for part in content or ())
    return Counter(_modality(part) for part in parts if isinstance(part, MediaPart))


def read_messages(
    messages: Sequence[ChatMessage],
    max_media_bytes: int,
    access: MediaAccess,
    *,
    strips: bool = True,
    continues: bool = False,
) -> Conversation:
    """The turns of a conversation; consecutive messages of one side are one turn, its media
    before its text.

    Reads every character: the caller has limited their number. Blocks for the disk if media are
    stored files. `strips` and `continues` as for `TurnReader`.

    Raises:
        RequestError: a medium is outside a user's or a tool's message, the last message has the
            wrong role, or `access` does not allow a medium.
        MediaRefusedError: a medium is larger than `max_media_bytes`.
    """
    reader = TurnReader(strips=strips, continues=continues)
    for number, message in enumerate(messages):
        param = f"messages[{number}]"
        text, media = _read_content(message, param, max_media_bytes, access)
        reader.add(message, param, text, media)
    return reader.close()


def _texts(message: ChatMessage) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
    else:
        for part in message.content or ():
            if isinstance(part, TextPart | RefusalPart):
                yield _text(part)
    yield message.refusal or ""
    for call in message.calls:
        yield call.function.name
        yield call.function.arguments


def _text(part: TextPart | RefusalPart) -> str:
    return part.text if isinstance(part, TextPart) else part.refusal


def _modality(part: MediaPart) -> Modality | None:
    if isinstance(part, FilePart):
        suffix = _suffix(part.file.filename or "") if part.file.file_id is None else ""
        if suffix in PICTURE_SUFFIXES:
            return Modality.IMAGE
        return Modality.POINT_CLOUD if suffix in POINT_CLOUD_SUFFIXES else None
    return Modality.IMAGE if isinstance(part, ImagePart) else Modality.POINT_CLOUD


def _read_content(
    message: ChatMessage, param: str, max_media_bytes: int, access: MediaAccess
) -> tuple[str, list[MediaItem]]:
    if message.content is None:
        if message.role != "assistant":
            raise RequestError(f"{param}.content is missing", param=f"{param}.content")
        return "", []
    if isinstance(message.content, str):
        return message.content, []
    texts: list[str] = []
    media: list[MediaItem] = []
    for index, part in enumerate(message.content):
        place = f"{param}.content[{index}]"
        if isinstance(part, TextPart | RefusalPart):
            texts.append(_text(part))
        elif message.role in _WITH_MEDIA:
            media.append(_read_media(part, f"{place}.{part.type}", max_media_bytes, access))
        else:
            raise RequestError(
                f"{place} is of type {part.type!r} in a message with role {message.role!r}; "
                f"only messages with role {' or '.join(_WITH_MEDIA)} may contain media",
                param=place,
            )
    return "\n".join(texts), media


def _read_media(
    part: MediaPart, param: str, max_media_bytes: int, access: MediaAccess
) -> MediaItem:
    if isinstance(part, FilePart):
        return _read_file(part, param, max_media_bytes, access)
    reference = part.image_url if isinstance(part, ImagePart) else part.point_cloud_url
    source = access.find(reference.url, reference.file_id, param=param, max_bytes=max_media_bytes)
    if isinstance(part, ImagePart):
        return MediaItem(Modality.IMAGE, source, param)
    return MediaItem(Modality.POINT_CLOUD, source, param, part.point_cloud_url.file())


def _read_file(part: FilePart, param: str, max_media_bytes: int, access: MediaAccess) -> MediaItem:
    """A file has the kind that its bytes say, otherwise the kind of its suffix."""
    source: MediaSource
    if part.file.file_id is not None:
        source = access.file(part.file.file_id, param=param, max_bytes=max_media_bytes)
        name = source.filename
    else:
        data, name = part.file.file_data or "", part.file.filename or ""
        source = read_data_url(data, param=f"{param}.file_data", max_bytes=max_media_bytes)
    suffix = _suffix(name)
    found = _kind_of_bytes(source, suffix)
    if found is not None:
        modality, format = found
        cloud = CloudFile(format) if modality is Modality.POINT_CLOUD else None
        return MediaItem(modality, source, param, cloud)
    if suffix in PICTURE_SUFFIXES:
        return MediaItem(Modality.IMAGE, source, param)
    if suffix in POINT_CLOUD_SUFFIXES:
        return MediaItem(Modality.POINT_CLOUD, source, param, CloudFile(suffix))
    known = ", ".join((*PICTURE_SUFFIXES, *POINT_CLOUD_SUFFIXES))
    raise MediaRefusedError(
        MediaFormatError(
            f"the file has the name {name[:64]!r}, and its first bytes are no known signature; "
            f"its suffix must be one of {known}"
        ),
        param=param,
    )


def _kind_of_bytes(source: MediaSource, suffix: str) -> tuple[Modality, str] | None:
    if isinstance(source, Upload):
        return kind_of_bytes(Base64Bytes(source.base64), suffix)
    if not isinstance(source, StoredFile):
        return None
    try:
        with source.path.open("rb") as stream:
            return kind_of_bytes(FileBytes(stream, source.bytes), suffix)
    except OSError:
        return None  # obtaining it says that it is gone


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower().lstrip(".")
