"""The published instruction format, and what is said of a bad record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lamm_model.conversation import Modality
from training.data.records import Record, read_json_items, read_records


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def read(tmp_path: Path, *items: Any) -> tuple[list[Record], list[str]]:
    file = tmp_path / "records.json"
    file.write_text(json.dumps(items))
    (tmp_path / "a.png").touch()
    (tmp_path / "b.npy").touch()
    errors: list[str] = []
    return list(read_records(file, tmp_path, errors)), errors


def test_pictures_clouds_and_text_in_one_file(tmp_path: Path) -> None:
    records, errors = read(
        tmp_path,
        {"id": 7, "image": "a.png", "task_type": "VQA", "conversations": talk("q", "a", "r", "b")},
        {"id": "x", "pcl": "b.npy", "conversations": talk("q", "a")},
        {"conversations": talk("q", "a")},
    )
    assert errors == []
    picture, cloud, text = records
    assert (picture.id, picture.task_type, len(picture.turns)) == ("7", "VQA", 2)
    assert picture.media[0].path == tmp_path / "a.png"
    assert [turn.media for turn in picture.turns] == [(Modality.IMAGE,), ()]
    assert (cloud.task_type, cloud.turns[0].media) == ("normal", (Modality.POINT_CLOUD,))
    assert (text.media, text.turns[0].media) == ((), ())


@pytest.mark.parametrize(
    ("value", "human"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("<pcl>\nWhat?", "What?"),
        ("What?\n<pcl>", "What?"),
        ("one <image> two", "one < image > two"),
        ("a ### b", "a # # # b"),
    ],
)
def test_placeholders_beside_a_newline_go_and_forged_borders_are_broken(
    tmp_path: Path, value: str, human: str
) -> None:
    records, _ = read(tmp_path, {"image": "a.png", "conversations": talk(value, "x", value, "y")})
    assert records[0].turns[0].human == human
    # Only the first question may carry the placeholder.
    assert "<image>" not in records[0].turns[1].human


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image": "none.png"}, "image file .*none.png does not exist"),
        ({"image": 3}, "image is 3, not a path"),
        ({"pcl": None}, "pcl is None, not a path"),
        ({"conversations": []}, "not a list with turns"),
        ({"conversations": talk("q")}, "the last question has no answer"),
        ({"conversations": talk("q", " ")}, "message 1 is an empty answer"),
        ({"conversations": talk("q", "a")[::-1]}, "message 0 is from 'gpt', not 'human'"),
        ({"conversations": [{"from": "human"}, 5]}, "message 0 has no text value"),
        ({"task_type": 5}, "task_type is 5, not a string"),
    ],
)
def test_a_bad_record_is_named_by_file_and_id_and_the_rest_is_read(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    good = {"id": "good", "conversations": talk("q", "a")}
    records, errors = read(tmp_path, good | {"id": "bad"} | change, good)
    assert [record.id for record in records] == ["good"]
    assert len(errors) == 1
    assert errors[0].startswith(f"{tmp_path / 'records.json'}: record 0 (id 'bad'): ")
    assert re.search(fault, errors[0])


def test_items_that_are_no_objects(tmp_path: Path) -> None:
    _, errors = read(tmp_path, ["x"], 3)
    assert "record 0 (id None): is a list" in errors[0]
    assert "record 1 (id None): is a int" in errors[1]


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    file = tmp_path / "cut.json"
    file.write_text('[{"conversations": [{"from": "human", "value": "q"}, {"from": "gp')
    errors: list[str] = []
    assert list(read_records(file, tmp_path, errors)) == []
    assert "not JSON" in errors[0]
    file.write_text('[{"a": 1}, ')
    errors.clear()
    assert list(read_records(file, tmp_path, errors)) == []
    assert "has no end" in errors[-1]


@pytest.mark.parametrize(
    ("content", "good", "fault"),
    [
        (b'\xef\xbb\xbf[{"conversations": TALK}]', 1, None),
        (b'[{"conversations": TALK, "id": "caf\xe9"}]', 0, r"byte \d+ is not UTF-8"),
        (b'[{"conversations": TALK}]\n[{"conversations": TALK}]', 1, "text follows .* at line 1"),
        (b'[{"conversations": TALK}, {"id": ' + b"[" * 100_000, 1, "cannot be decoded"),
        (b'[{"conversations": HALF}]', 0, r"message 1 has half a character \('\\ud83d'\) at 2"),
    ],
    ids=["byte order mark", "latin-1", "two lists", "nested", "lone surrogate"],
)
def test_texts_that_are_no_plain_list(
    tmp_path: Path, content: bytes, good: int, fault: str | None
) -> None:
    file, errors = tmp_path / "records.json", list[str]()
    said = json.dumps(talk("q", "a")).encode()
    half = json.dumps(talk("q", "a \ud83d")).encode()
    file.write_bytes(content.replace(b"TALK", said).replace(b"HALF", half))
    assert len(list(read_records(file, tmp_path, errors))) == good
    assert len(errors) == (fault is not None)
    if fault is not None:
        assert re.search(fault, errors[0])
        assert str(file) in errors[0]


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert list(read_json_items(file)) == [{"a": 1}, {"a": 2}]
