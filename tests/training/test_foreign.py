"""Records as other tools write them: read as the same conversation, or refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lamm_model.conversation import Modality, Turn
from training.data.reading import RecordError, SourceRecord, read_records

MEDIA = (Modality.IMAGE,)


def read(tmp_path: Path, record: dict[str, Any]) -> tuple[list[SourceRecord], list[str]]:
    file = tmp_path / "records.json"
    file.write_text(json.dumps([record]))
    (tmp_path / "a.png").touch()
    (tmp_path / "b.npy").touch()
    errors: list[RecordError] = []
    return list(read_records(file, tmp_path, errors.append)), [str(error) for error in errors]


def said(*texts: Any) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]


def part(kind: str, value: Any = None) -> dict[str, Any]:
    return {"type": kind} if value is None else {"type": kind, kind: value}


TEXT = part("text", "What?")
ANSWER = [part("text", "A coat.")]


@pytest.mark.parametrize(
    "record",
    [
        {"image": "a.png", "messages": said("<image>\nWhat?", "A coat.")},
        {"image": "a.png", "messages": said("What?", "A coat.")},
        {"image": "a.png", "messages": said([part("image"), TEXT], "A coat.")},
        {"image": "a.png", "messages": said([TEXT, {"type": "image", "image": None}], "A coat.")},
        {"messages": said([part("image", "a.png"), TEXT], ANSWER)},
        {"messages": said([TEXT, part("image_url", {"url": "a.png"})], "A coat.")},
        {"messages": said([part("image_url", "./a.png"), TEXT], "A coat."), "image": None},
        {"messages": said([{"type": "image", "path": "a.png"}, TEXT], "A coat.")},
        {"image": "a.png", "conversations": said("What?", "A coat."), "messages": None},
        {
            "image": "a.png",
            "conversations": [
                {"from": "user", "value": "<image>\nWhat?"},
                {"from": "assistant", "value": "A coat."},
            ],
        },
        {
            "image": "a.png",
            "messages": [
                {"role": "user", "content": "What?", "name": "x", "weight": 1, "tool_calls": None},
                {"role": "assistant", "content": "A coat.", "loss": True, "train": None},
            ],
            "system": "",
            "tools": [],
        },
    ],
)
def test_one_conversation_in_many_spellings(tmp_path: Path, record: dict[str, Any]) -> None:
    sources, errors = read(tmp_path, {"id": 7} | record)
    assert errors == []
    [source] = sources
    assert source.record.turns() == (Turn("What?", "A coat.", MEDIA),)
    assert [medium.path for medium in source.media] == [tmp_path / "a.png"]
    assert source.record.id == "7"


def test_parts_name_pictures_and_clouds_and_files_by_url(tmp_path: Path) -> None:
    parts = [
        part("point_cloud_url", {"url": (tmp_path / "b.npy").as_uri()}),
        part("image", "a.png"),
        TEXT,
    ]
    sources, errors = read(tmp_path, {"messages": said(parts, "x", "And?", "y")})
    assert errors == []
    first, second = sources[0].record.turns()
    assert first.media == (Modality.IMAGE, Modality.POINT_CLOUD)
    assert (first.human, second.human) == ("What?", "And?")
    assert [m.path.name for m in sources[0].media] == ["a.png", "b.npy"]


def talk(*speakers: Any) -> list[dict[str, Any]]:
    return [{"from": speaker, "value": "x"} for speaker in speakers]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (
            {"conversations": talk("system", "human", "gpt")},
            r"conversations\[0\] is from 'system'; LAMM takes the system text from task_type",
        ),
        (
            {"messages": [{"role": "system", "content": "s"}, *said("q", "a")]},
            r"messages\[0\] is from 'system'; LAMM takes",
        ),
        ({"system": "Be kind.", "messages": said("q", "a")}, "system is 'Be kind.'; LAMM takes"),
        ({"tools": [{"name": "f"}], "messages": said("q", "a")}, "tools is .*; LAMM has no tools"),
        (
            {"messages": [*said("q", "a"), {"role": "tool", "content": "x"}]},
            r"messages\[2\]\.role is 'tool'; expected 'user' or 'assistant'",
        ),
        (
            {"conversations": talk("human", "bot")},
            r"conversations\[1\]\.from is 'bot'; expected 'human' or 'gpt'",
        ),
        ({"conversations": talk("human", None)}, r"conversations\[1\]\.from is None; expected"),
        ({"conversations": talk("human", ["gpt"])}, r"conversations\[1\]\.from is \['gpt'\]"),
        (
            {"messages": [*said("q"), *said("r", "a")]},
            r"messages\[1\] is from 'user'; expected 'assistant'",
        ),
        ({"messages": said("q", "a", "r")}, "messages has 3 messages; the last question has no"),
        ({"messages": said("q", "")}, r"messages\[1\] is an empty answer"),
        ({"messages": []}, "messages has no messages"),
        ({"messages": said("q", None)}, r"messages\[1\]\.content is None; expected text or parts"),
        ({"messages": said(5, "a")}, r"messages\[0\]\.content is 5; expected text or parts"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]\.content is missing"),
        ({"messages": ["q"]}, r"messages\[0\] is no object, got 'q'"),
        ({"messages": {"role": "user"}}, "messages: Input should be a valid tuple"),
        (
            {"messages": said("q", "a"), "conversations": talk("human", "gpt")},
            "conversations and messages are both given; keep one",
        ),
        (
            {"conversations": [*talk("human"), {"from": "gpt", "value": "a", "weight": 0}]},
            r"conversations\[1\]\.weight is 0; every answer is trained with equal weight",
        ),
        (
            {"messages": [*said("q"), {"role": "assistant", "content": "a", "loss": False}]},
            r"messages\[1\]\.loss is False",
        ),
        (
            {"messages": [*said("q"), {"role": "assistant", "content": "", "tool_calls": [1]}]},
            r"messages\[1\]\.tool_calls is \[1\]; LAMM has no tools",
        ),
        ({"messages": said([part("image"), TEXT], "a")}, r"messages\[0\] has <image>, but"),
        (
            {"image": "a.png", "messages": said("q", "a", [part("image"), TEXT], "b")},
            r"messages\[2\] has <image>; all media stand before the first question",
        ),
        (
            {"image": "a.png", "messages": said([part("image", "a.png"), TEXT], "a")},
            "image is 'a.png', and parts of messages name 'a.png' too",
        ),
        (
            {"messages": said([part("image_url", {"url": "data:image/png;base64,AA"}), TEXT], "a")},
            "'data:image/png;base64,AA' is a URL; training reads files",
        ),
        (
            {"messages": said([part("image_url", {"url": "https://h/a.png"}), TEXT], "a")},
            "'https://h/a.png' is a URL",
        ),
        (
            {"messages": said([part("video", "a.mp4"), TEXT], "a")},
            r"messages\[0\]\.content\[0\] is .*'video'.*; expected a part of type text, image",
        ),
        ({"messages": said([part("image", 5), TEXT], "a")}, r"content\[0\]\.image is 5; expected"),
        ({"messages": said(["What?"], "a")}, r"content\[0\] is 'What\?'; expected a part"),
    ],
)
def test_what_has_no_place_is_named(tmp_path: Path, record: dict[str, Any], fault: str) -> None:
    sources, errors = read(tmp_path, record)
    assert sources == []
    [error] = errors
    assert re.search(fault, error)
    assert "record 0 (id '0'): at line 1: " in error
