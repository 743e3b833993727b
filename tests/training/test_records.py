"""The published instruction format, and what is said of a bad record."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lamm_model.conversation import Modality
from training.data.reading import RecordError, SourceRecord, read_records
from training.data.records import MediaFile


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def read_file(file: Path) -> tuple[list[SourceRecord], list[str]]:
    errors: list[RecordError] = []
    return list(read_records(file, file.parent, errors.append)), [str(error) for error in errors]


def read(tmp_path: Path, *items: Any) -> tuple[list[SourceRecord], list[str]]:
    file = tmp_path / "records.json"
    file.write_text(json.dumps(items))
    (tmp_path / "a.png").touch()
    (tmp_path / "b.npy").touch()
    return read_file(file)


def test_pictures_clouds_and_text_in_one_file(tmp_path: Path) -> None:
    sources, errors = read(
        tmp_path,
        {"id": 7, "image": "a.png", "task_type": "VQA", "conversations": talk("q", "a", "r", "b")},
        {"id": "x", "pcl": "b.npy", "conversations": talk("", "a")},
        {"conversations": talk("q", "a")},
        {"id": 1.5, "image": ["a.png", "a.png"], "pcl": "b.npy", "conversations": talk("q", "a")},
    )
    assert errors == []
    picture, cloud, text, several = (source.record for source in sources)
    assert (picture.id, picture.task_type, len(picture.turns())) == ("7", "VQA", 2)
    assert sources[0].media == (MediaFile(Modality.IMAGE, tmp_path / "a.png"),)
    assert [turn.media for turn in picture.turns()] == [(Modality.IMAGE,), ()]
    assert (cloud.task_type, cloud.turns()[0].media) == ("normal", (Modality.POINT_CLOUD,))
    assert (text.id, sources[2].media, text.turns()[0].media) == ("2", (), ())
    media = (Modality.IMAGE, Modality.IMAGE, Modality.POINT_CLOUD)
    assert (several.id, several.turns()[0].media) == ("1.5", media)


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
    sources, _ = read(tmp_path, {"image": "a.png", "conversations": talk(value, "x", value, "y")})
    first, second = sources[0].record.turns()
    assert first.human == human
    # Only the first question may carry the placeholder.
    assert "<image>" not in (second.human or "")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image": "none.png"}, "media file .*none.png does not exist"),
        ({"image": 3}, r"image\[0\]: Input should be a valid string, got 3"),
        ({"pcl": None}, r"pcl\[0\]: Input should be a valid string, got None"),
        ({"image": ["a.png", " "]}, r"image\[1\]: text is empty"),
        ({"conversations": []}, "conversations has no messages"),
        ({"conversations": talk("q", "a", "r")}, "3 messages; the last question has no answer"),
        ({"conversations": talk("q", " ")}, r"conversations\[1\] is an empty answer"),
        (
            {"conversations": talk("q", "a")[::-1]},
            r"conversations\[0\] is from 'gpt'; expected 'human'",
        ),
        ({"conversations": [{"from": "human"}, 5]}, r"conversations\[0\].value is missing"),
        ({"task_type": 5}, "task_type: Input should be a valid string, got 5"),
    ],
)
def test_a_bad_record_is_named_by_file_and_id_and_the_rest_is_read(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    good = {"id": "good", "conversations": talk("q", "a")}
    records, errors = read(tmp_path, good | {"id": "bad"} | change, good)
    assert [source.record.id for source in records] == ["good"]
    assert len(errors) == 1
    assert errors[0].startswith(f"{tmp_path / 'records.json'}: record 0 (id 'bad'): ")
    assert re.search(fault, errors[0])


def test_items_that_are_no_objects(tmp_path: Path) -> None:
    _, errors = read(tmp_path, ["x"], 3)
    assert "record 0: expected an object, got list" in errors[0]
    assert "record 1: expected an object, got int" in errors[1]


def test_a_file_cut_short_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "cut.json"
    file.write_text('[{"conversations": [{"from": "human", "value": "q"}, {"from": "gp')
    records, errors = read_file(file)
    assert records == []
    assert "record 0: the file ends within the item" in errors[0]
    file.write_text('[{"a": 1}, ')
    records, errors = read_file(file)
    assert records == []
    assert "record 1: the file ends within the item" in errors[-1]


@pytest.mark.parametrize(
    ("content", "good", "fault"),
    [
        (b'\xef\xbb\xbf[{"conversations": TALK}]', 1, None),
        (b'[{"conversations": TALK, "id": "caf\xe9"}]', 0, "id: character 3 is not valid Unicode"),
        (b'[{"conversations": TALK}]\n[{"conversations": TALK}]', 1, "text follows .* at line 2"),
        (b'[{"conversations": TALK}, {"id": ' + b"[" * 100_000, 1, "cannot be decoded"),
        (b'[{"conversations": HALF}]', 0, "character 2 is not valid Unicode"),
    ],
    ids=["byte order mark", "latin-1", "two lists", "nested", "lone surrogate"],
)
def test_texts_that_are_no_plain_list(
    tmp_path: Path, content: bytes, good: int, fault: str | None
) -> None:
    file = tmp_path / "records.json"
    said = json.dumps(talk("q", "a")).encode()
    half = json.dumps(talk("q", "a \ud83d")).encode()
    file.write_bytes(content.replace(b"TALK", said).replace(b"HALF", half))
    records, errors = read_file(file)
    assert len(records) == good
    assert len(errors) == (fault is not None)
    if fault is not None:
        assert re.search(fault, errors[0])
        assert str(file) in errors[0]


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    lines = [json.dumps({"conversations": talk("q", answer)}) for answer in "ab"]
    file.write_text("\n\n".join(lines) + "\n")
    records, errors = read_file(file)
    assert errors == []
    assert [source.record.turns()[0].assistant for source in records] == ["a", "b"]
    assert [source.item.line for source in records] == [1, 3]


@pytest.mark.parametrize("separator", [",\n", "\n"], ids=["list", "lines"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "large.json"
    record = json.dumps({"conversations": talk("q", "word " * 400)})
    text = separator.join([record] * 4_000)
    file.write_text(f"[{text}]" if separator.startswith(",") else text)
    tracemalloc.start()
    problems: list[RecordError] = []
    count = sum(1 for _ in read_records(file, tmp_path, problems.append))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, problems) == (4_000, [])
    assert file.stat().st_size > 8_000_000
    assert peak < 4_000_000
