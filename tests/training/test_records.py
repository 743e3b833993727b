"""The published instruction format, and what is said of a bad record."""

from __future__ import annotations

import json
import math
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
        ("Look.\n<image>\nWhat?", "Look.\nWhat?"),
        ("<image> What?", "What?"),
        ("What? <image>", "What?"),
        ("<image>", ""),
        ("<image-placeholder>\nWhat?", "What?"),
        ("<|image_1|>\nWhat?", "What?"),
        ("a ### b", "a # # # b"),
    ],
)
def test_placeholders_go_and_forged_borders_are_broken(
    tmp_path: Path, value: str, human: str
) -> None:
    sources, errors = read(
        tmp_path, {"image": "a.png", "conversations": talk(value, "x", "a ### b", "y")}
    )
    assert errors == []
    first, second = sources[0].record.turns()
    assert first.human == human
    assert second.human == "a # # # b"


@pytest.mark.parametrize(
    ("media", "value"),
    [
        ({"pcl": "b.npy"}, "<pcl>\nWhat?"),
        ({"pcl": "b.npy"}, "<point_cloud>\nWhat?"),
        ({"pcl": "b.npy"}, "<image>\nWhat?"),
        ({"image": ["a.png", "a.png"], "pcl": "b.npy"}, "<image> <image>\n<pcl>\nWhat?"),
        ({"image": ["a.png", "a.png"]}, "<image><image>\nWhat?"),
        ({"image": ["a.png", "a.png"]}, "<image>\nWhat?"),
        ({"image": "a.png"}, "What?"),
    ],
)
def test_as_many_placeholders_as_media_or_fewer(
    tmp_path: Path, media: dict[str, Any], value: str
) -> None:
    sources, errors = read(tmp_path, media | {"conversations": talk(value, "a")})
    assert errors == []
    [turn] = sources[0].record.turns()
    assert turn.human == "What?"
    assert len(turn.media) == sum(len(x) if isinstance(x, list) else 1 for x in media.values())


@pytest.mark.parametrize(
    ("media", "texts", "fault"),
    [
        (
            {},
            ("<image>\nq", "a"),
            r"\[0\] has <image>, but the record has no picture \(key image\)",
        ),
        ({}, ("<pcl>\nq", "a"), r"has <pcl>, but the record has no point cloud \(key pcl\)"),
        ({}, ("<image_placeholder>q", "a"), "has <image_placeholder>, but"),
        ({"image": None}, ("q <point_cloud>", "a"), "has <point_cloud>, but"),
        ({"image": "a.png"}, ("<pcl>\nq", "a"), r"has <pcl>, but the record has no point cloud"),
        (
            {"image": "a.png"},
            ("<image>\n<image>\nq", "a"),
            "has <image> as placeholder 2 of a picture, but image names 1",
        ),
        ({"image": "a.png"}, ("q", "a", "<image>\nr", "b"), r"\[2\] has <image>; all media stand"),
        ({"image": "a.png"}, ("q", "an <image>"), r"conversations\[1\] has <image>; all media"),
        ({"image": "a.png"}, ("one <image> two", "a"), "has <image> within the text"),
        ({"image": "a.png"}, ("Image-1: <image>\nq", "a"), "has <image> within the text"),
        ({}, ("<video>\nq", "a"), r"has <video>, but LAMM reads only pictures \(image\)"),
        ({"image": "a.png"}, ("<audio>q", "a"), "has <audio>, but LAMM reads only"),
    ],
)
def test_a_placeholder_without_its_medium_or_out_of_place(
    tmp_path: Path, media: dict[str, Any], texts: tuple[str, ...], fault: str
) -> None:
    sources, errors = read(tmp_path, media | {"conversations": talk(*texts)})
    assert sources == []
    assert re.search(fault, errors[0])


def test_an_answer_may_speak_of_elements(tmp_path: Path) -> None:
    _, errors = read(tmp_path, {"conversations": talk("How?", "Use <video> or <audio>.")})
    assert errors == []


@pytest.mark.parametrize("nothing", [None, "", []])
def test_a_medium_that_is_null_or_empty_is_none(tmp_path: Path, nothing: Any) -> None:
    record = {"image": nothing, "pcl": nothing, "video": nothing, "task_type": None}
    sources, errors = read(tmp_path, record | {"conversations": talk("q", "a")})
    assert errors == []
    assert sources[0].media == ()
    assert sources[0].record.task_type == "normal"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"point_cloud": "b.npy"},
            "point_cloud is 'b.npy'; LAMM reads such media from the key pcl",
        ),
        ({"pcd": "b.npy"}, "pcd is 'b.npy'; .* the key pcl"),
        ({"points": [[0, 1, 2]]}, r"points is \[\[0, 1, 2\]\]; .* the key pcl"),
        ({"images": ["a.png"]}, r"images is \['a.png'\]; .* the key image"),
        ({"Image": "a.png"}, "Image is 'a.png'; .* the key image"),
        ({"image-path": "a.png"}, "image-path is 'a.png'; .* the key image"),
        ({"image": "a.png", "point-cloud": "b.npy"}, "point-cloud is 'b.npy'; .* the key pcl"),
        ({"video": "a.mp4"}, "video is 'a.mp4'; LAMM reads only pictures"),
        ({"audio": ["a.wav"]}, r"audio is \['a.wav'\]; LAMM reads only"),
        ({"file_name": "x/a.JPG"}, "file_name is 'x/a.JPG'; .* the key image"),
        ({"shape": ["b.npy"]}, r"shape is \['b.npy'\]; .* the key pcl"),
    ],
)
def test_media_under_another_key_are_no_text_record(
    tmp_path: Path, fields: dict[str, Any], fault: str
) -> None:
    sources, errors = read(tmp_path, fields | {"conversations": talk("q", "a")})
    assert sources == []
    assert re.search(fault, errors[0])


def test_other_keys_are_no_media(tmp_path: Path) -> None:
    text = {"source": "wiki.txt", "table": "t.csv", "conversations": talk("q", "a")}
    assert read(tmp_path, text)[1] == []
    about = {"source": "coco", "src_image": "x.jpg", "num_points": 5, "points": 3, "note": "a. png"}
    sources, errors = read(tmp_path, about | {"image": "a.png", "conversations": talk("q", "a")})
    assert errors == []
    assert len(sources) == 1


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("none.png", "media file .*none.png does not exist"),
        ("http://host/a.png", "'http://host/a.png' is a URL; training reads files"),
        ("data:image/png;base64," + "A" * 9_000, "is a URL; training reads files"),
        ("iVBOR" * 2_000, "cannot be a file: File name too long"),
        ("C:\\data\\a.png", "does not exist; .* is a path of Windows"),
        ("sub", "media file .*sub does not exist"),
    ],
)
def test_a_medium_that_is_no_file(tmp_path: Path, name: str, fault: str) -> None:
    (tmp_path / "sub").mkdir()
    sources, errors = read(tmp_path, {"image": name, "conversations": talk("q", "a")})
    assert sources == []
    assert re.search(fault, errors[0])


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"image": "b.npy"}, r"image names .*b\.npy, a \.npy file; clouds belong under pcl"),
        ({"pcl": "a.png"}, r"pcl names .*a\.png; expected a file of .*npy.*ply"),
    ],
)
def test_a_medium_of_the_other_kind(tmp_path: Path, fields: dict[str, Any], fault: str) -> None:
    sources, errors = read(tmp_path, fields | {"conversations": talk("q", "a")})
    assert sources == []
    assert re.search(fault, errors[0])


def test_spellings_of_paths(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.png").touch()
    names = ["./a.png", "sub/../a.png", "sub\\c.png", str(tmp_path / "a.png"), "sub/c.png"]
    sources, errors = read(tmp_path, {"image": names, "conversations": talk("q", "a")})
    assert errors == []
    assert [medium.path.name for medium in sources[0].media] == [
        "a.png", "a.png", "c.png", "a.png", "c.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image": "none.png"}, "media file .*none.png does not exist"),
        ({"image": 3}, r"image\[0\]: Input should be a valid string, got 3"),
        ({"pcl": [None]}, r"pcl\[0\]: Input should be a valid string, got None"),
        ({"image": math.nan}, "image: is NaN; write null for a record without a medium"),
        ({"conversations": talk("", "a")}, r"conversations\[0\] is an empty question"),
        ({"conversations": talk("q", "a", " ", "b")}, r"conversations\[2\] is an empty question"),
        ({"conversations": talk("q", "a") + talk("q")}, "3 messages; the last question has no"),
        ({"conversations": "text"}, "conversations: Input should be a valid tuple, got 'text'"),
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
    assert "record 0: at line 1: expected an object, got list" in errors[0]
    assert "record 1: at line 1: expected an object, got int" in errors[1]


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


def test_what_holds_the_list_is_named(tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    file.write_text(json.dumps({"version": 1, "data": [{"conversations": talk("q", "a")}]}))
    _, errors = read_file(file)
    assert "conversations (or messages) is missing; data is a list of objects" in errors[0]
    file.write_text(json.dumps({"instruction": "q", "output": "a"}))
    _, errors = read_file(file)
    assert "is missing; the keys are 'instruction', 'output'" in errors[0]


def test_one_object_is_one_record(tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    file.write_text(json.dumps({"conversations": talk("q", "a")}, indent=1))
    records, errors = read_file(file)
    assert (len(records), errors) == (1, [])


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
