"""Records as other tools write them, in the words of the record model.

`messages` with roles (OpenAI, TRL, LLaMA-Factory), ShareGPT's speakers and content in parts become
`conversations` of `human` and `gpt`. What has no place in LAMM's training (a system turn, tools,
masked answers, media under another key) is refused by name rather than left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from lamm_model.conversation import Modality
from lamm_model.media import POINT_CLOUD_FORMATS
from training.data.records import InvalidRecord, Spelling

_LISTS = ("conversations", "messages")
_SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
_KEYS = {Modality.IMAGE: "image", Modality.POINT_CLOUD: "pcl"}
_SYSTEM = (
    "LAMM takes the system text from task_type and the base's prompts: remove it, or put its text "
    "before the first question"
)
# Keys of other tools, in lower case with underscores, and the medium that they name.
_OTHER_KEYS: Mapping[str, str | None] = {
    **dict.fromkeys(
        (
            "images", "img", "imgs", "image_path", "image_paths", "image_file", "image_files",
            "image_url", "image_urls", "img_path", "picture", "pictures", "photo", "photos",
        ),
        "image",
    ),
    **dict.fromkeys(
        (
            "point_cloud", "point_clouds", "pointcloud", "pointclouds", "pcd", "pcds", "pc", "pcls",
            "points", "cloud", "clouds", "lidar", "pcl_path", "pcd_path", "point_cloud_path", "ply",
        ),
        "pcl",
    ),
    **dict.fromkeys(
        (
            "video", "videos", "video_path", "video_paths", "audio", "audios", "audio_path",
            "speech", "sound", "depth", "depth_image", "mesh",
        )
    ),
}  # fmt: skip
_PICTURE_SUFFIXES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff")
_OTHER_SUFFIXES = ("mp4", "avi", "mov", "mkv", "webm", "wav", "mp3", "flac")
_TEXT_SUFFIXES = ("asc", "bin", "csv", "txt")  # of other files too
_SUFFIX_OF = {
    **dict.fromkeys(_PICTURE_SUFFIXES, "image"),
    **dict.fromkeys((s for s in POINT_CLOUD_FORMATS if s not in _TEXT_SUFFIXES), "pcl"),
    **dict.fromkeys(_OTHER_SUFFIXES),
}
# Of a message: what keeps an answer out of the loss in other trainers.
_LOSS_KEYS = ("weight", "loss", "train", "training")
_PART_MODALITIES = {
    "image": Modality.IMAGE,
    "image_url": Modality.IMAGE,
    "pcl": Modality.POINT_CLOUD,
    "point_cloud": Modality.POINT_CLOUD,
    "point_cloud_url": Modality.POINT_CLOUD,
}
_MAX_SHOWN = 60


class _Text(NamedTuple):
    """A message's text with placeholders for its media, and the paths that its parts name."""

    text: Any
    paths: tuple[tuple[Modality, str], ...] = ()


def as_record(item: Mapping[str, Any]) -> tuple[dict[str, Any], Spelling]:
    """The item with `conversations`, `image` and `pcl`, and how its file spells the first.

    A field of a wrong type stays as it is, for the record model to refuse.

    Raises:
        InvalidRecord: the item has something that the record model has no place for.
    """
    for key in ("system", "system_prompt", "tools"):
        if not _is_empty(item.get(key)):
            advice = "LAMM has no tools" if key == "tools" else _SYSTEM
            raise InvalidRecord("schema", f"{key} is {_shown(item[key])}; {advice}")
    given = [name for name in _LISTS if item.get(name) is not None]
    if len(given) > 1:
        raise InvalidRecord("schema", "conversations and messages are both given; keep one")
    if not given:
        raise InvalidRecord("schema", f"conversations (or messages) is missing; {_found(item)}")
    name = given[0]
    record = {key: value for key, value in item.items() if key not in _LISTS}
    record["conversations"] = item[name]
    paths: list[tuple[Modality, str]] = []
    spelling = Spelling(name)
    if isinstance(item[name], list):
        spelling = _spelling(name, item[name])
        messages = [_message(f"{name}[{n}]", one, paths) for n, one in enumerate(item[name])]
        record["conversations"] = messages
    _add_paths(record, paths, name)
    _check_keys(record)
    return record, spelling


def _found(item: Mapping[str, Any]) -> str:
    for key, value in item.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"{key} is a list of objects: a file is the list of its records itself"
    return f"the keys are {', '.join(map(repr, item)) or 'none'}"


def _spelling(name: str, messages: list[Any]) -> Spelling:
    roles = any(isinstance(one, dict) and "role" in one for one in messages)
    return Spelling(name, "user", "assistant") if roles else Spelling(name)


def _message(place: str, message: Any, paths: list[tuple[Modality, str]]) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise InvalidRecord("schema", f"{place} is no object, got {_shown(message)}")
    speaker_key = "role" if "role" in message else "from"
    text_key = "content" if "content" in message else "value"
    if speaker_key == "role" and text_key not in message:
        text_key = "content"
    for key in (speaker_key, text_key):
        if key not in message:
            raise InvalidRecord("schema", f"{place}.{key} is missing")
    speaker = message[speaker_key]
    if speaker == "system":
        raise InvalidRecord("wrong_speaker", f"{place} is from 'system'; {_SYSTEM}")
    known = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if known is None:
        wanted = "'user' or 'assistant'" if speaker_key == "role" else "'human' or 'gpt'"
        fault = f"{place}.{speaker_key} is {_shown(speaker)}; expected {wanted}"
        raise InvalidRecord("wrong_speaker", fault)
    _check_training_of(place, message)
    content = _content(f"{place}.{text_key}", message[text_key])
    paths += content.paths
    return {"from": known, "value": content.text}


def _check_training_of(place: str, message: Mapping[str, Any]) -> None:
    for key in _LOSS_KEYS:
        value = message.get(key)
        if value is not None and value != 1:
            fault = f"{place}.{key} is {_shown(value)}; every answer is trained with equal weight"
            raise InvalidRecord("schema", fault)
    if calls := message.get("tool_calls"):
        raise InvalidRecord("schema", f"{place}.tool_calls is {_shown(calls)}; LAMM has no tools")


def _content(place: str, content: Any) -> _Text:
    """The text of a message; parts are joined by line breaks, as the service joins them."""
    if isinstance(content, str):
        return _Text(content)
    if not isinstance(content, list):
        raise InvalidRecord("schema", f"{place} is {_shown(content)}; expected text or parts")
    texts: list[str] = []
    paths: list[tuple[Modality, str]] = []
    for number, part in enumerate(content):
        where = f"{place}[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(kind, str) and (modality := _PART_MODALITIES.get(kind)) is not None:
            texts.append(f"<{_KEYS[modality]}>")
            if (path := _part_path(where, part)) is not None:
                paths.append((modality, path))
        else:
            known = ", ".join(("text", *_PART_MODALITIES))
            fault = f"{where} is {_shown(part)}; expected a part of type {known}"
            raise InvalidRecord("schema", fault)
    return _Text("\n".join(texts), tuple(paths))


def _part_path(place: str, part: Mapping[str, Any]) -> str | None:
    """The file that a part names; None if it stands for the next one of the record's own."""
    for key in (part["type"], "path", "url"):
        value = part.get(key)
        if isinstance(value, dict):
            value = value.get("url")
        if isinstance(value, str) and value:
            if urlsplit(value).scheme == "file":
                return unquote(urlsplit(value).path)
            return value
        if value not in (None, ""):
            raise InvalidRecord("schema", f"{place}.{key} is {_shown(value)}; expected a path")
    return None


def _add_paths(record: dict[str, Any], paths: list[tuple[Modality, str]], name: str) -> None:
    for modality, key in _KEYS.items():
        own = [path for kind, path in paths if kind is modality]
        if own and not _is_empty(record.get(key)):
            fault = f"{key} is {_shown(record[key])}, and parts of {name} name {_shown(own[0])} too"
            raise InvalidRecord("schema", fault)
        if own:
            record[key] = own


def _check_keys(record: Mapping[str, Any]) -> None:
    """Refuses media under keys that are not read; the record would count as text."""
    has_media = any(not _is_empty(record.get(key)) for key in _KEYS.values())
    for key, value in record.items():
        if key in (*_KEYS.values(), "conversations", "id", "task_type") or _is_empty(value):
            continue
        plain = key.lower().replace("-", "_")
        if plain in _KEYS.values():
            raise _unknown(key, value, plain)
        if plain in _OTHER_KEYS and isinstance(value, str | list | dict):
            raise _unknown(key, value, _OTHER_KEYS[plain])
        suffix = None if has_media else next(_suffixes(value), None)
        if suffix is not None:
            raise _unknown(key, value, _SUFFIX_OF[suffix])


def _unknown(key: str, value: Any, known: str | None) -> InvalidRecord:
    advice = (
        f"LAMM reads such media from the key {known}"
        if known is not None
        else "LAMM reads only pictures (image) and point clouds (pcl)"
    )
    return InvalidRecord("unknown_media", f"{key} is {_shown(value)}; {advice}")


def _suffixes(value: Any) -> Iterator[str]:
    """Suffixes of media files that a path, or a list of them, ends in."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and len(one.split()) == 1:
            suffix = one.rpartition(".")[2].lower()
            if suffix in _SUFFIX_OF and suffix != one.lower():
                yield suffix


def _is_empty(value: Any) -> bool:
    """Whether a table's row has nothing there."""
    if isinstance(value, float) and math.isnan(value):
        return True
    return value in (None, "", [], {})


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
