"""The published layout, and every file of it as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lamm_model.conversation import Modality, Turn
from lamm_model.tasks import TASKS
from tests.training.datasets.published_tree import Tree
from training.data.records import ConversationRecord
from training.datasets.benchmark_records import (
    Detection,
    Grounding,
    Keypoints,
    PictureChoice,
    Smile,
    Words,
)
from training.datasets.complaints import Complaint, Kind
from training.datasets.layout import (
    LOCATING,
    META_FOLDER,
    PUBLISHED_FILES,
    find_files,
    unknown_files,
)
from training.datasets.reading import ReadRecord, read_dataset, resolve_media


def read(tree: Tree, name: str) -> tuple[list[ReadRecord], list[Complaint]]:
    complaints: list[Complaint] = []
    found = next(f for f in find_files(tree.root) if f.name.endswith(f"/{name}"))
    return list(read_dataset(found, complaints.append)), complaints


def test_the_layout_is_the_published_one() -> None:
    folders = [dataset.folder for dataset in PUBLISHED_FILES]
    assert {folder: folders.count(folder) for folder in folders} == {
        "2D_Instruct": 7,
        "3D_Instruct": 1,
        "2D_Benchmark": 14,
        "3D_Benchmark": 3,
    }
    names = [name for dataset in PUBLISHED_FILES for name in dataset.names]
    assert len(set(names)) == len(names)
    assert sum(dataset.task == LOCATING for dataset in PUBLISHED_FILES) == 3
    tasks = {dataset.task: dataset for dataset in PUBLISHED_FILES}
    del tasks["instruction"]
    for task, dataset in tasks.items():
        assert TASKS[task].modality is dataset.record.modality
    counts = {dataset.names[0]: dataset.count for dataset in PUBLISHED_FILES if dataset.count}
    assert 186_098 in counts["LAMM_instruct_186k.json"]
    assert len(counts["LAMM_instruct_186k.json"]) == 1
    assert 49_000 in counts["daily_dialogue_49k.json"]
    assert 48_000 not in counts["daily_dialogue_49k.json"]


def test_every_published_file_reads_without_complaint(tree: Tree) -> None:
    found = list(find_files(tree.root))
    assert len(found) == len(PUBLISHED_FILES)
    assert list(unknown_files(tree.root)) == []
    for file in found:
        complaints: list[Complaint] = []
        records = list(read_dataset(file, complaints.append))
        assert complaints == []
        assert [read.index for read in records] == [0, 1]
        assert [read.record.id for read in records] == ["000000", "000001"]
        for one in records:
            assert type(one.record) is file.dataset.record
            assert one.media is not None
            assert one.media.is_file()
            assert one.record.turns()[0].media == (one.record.modality,)


@pytest.mark.parametrize(
    ("readme", "other"),
    [(dataset.names[0], other) for dataset in PUBLISHED_FILES for other in dataset.names[1:]],
)
def test_a_file_is_found_under_each_of_its_names(tree: Tree, readme: str, other: str) -> None:
    tree.path(readme).rename(tree.path(other))
    records, complaints = read(tree, other)
    assert len(records) == 2
    assert complaints == []


def test_the_records_hold_what_the_files_say(tree: Tree) -> None:
    records = {
        file.name.rpartition("/")[2]: next(read_dataset(file, print)).record
        for file in find_files(tree.root)
    }
    conversation = records["LAMM_instruct_98k.json"]
    assert isinstance(conversation, ConversationRecord)
    assert conversation.turns() == (
        Turn("What is it?", "A boat.", (Modality.IMAGE,)),
        Turn("Which colour has it, and how many masts?", "It is red, and has two masts."),
    )
    choice = records["VQA_SQAimage.json"]
    assert isinstance(choice, PictureChoice)
    assert choice.gt_choices[choice.gt_choice] == "blue"
    detection = records["Locating_VOC2012.json"]
    assert isinstance(detection, Detection)
    assert detection.object[0].bbox == (0.1, 0.2, 0.5, 0.9)
    joints = records["Keypoints_Dectection_LSP.json"]
    assert isinstance(joints, Keypoints)
    assert joints.gt_joints[13] == (23.0, 20.5, 1.0)
    smile = records["Facial_Classification_CelebA(Smile).json"]
    assert isinstance(smile, Smile)
    assert smile.attr == "-1"
    words = records["OCR_SVT.json"]
    assert isinstance(words, Words)
    assert words.word_list == ("hotel", "1984")
    box = records["VG_ScanRefer.json"]
    assert isinstance(box, Grounding)
    assert box.modality is Modality.POINT_CLOUD
    assert box.media_name == "./scannet_pcls/0.npy"


INSTRUCT = "daily_dialogue_49k.json"
HUMAN, GPT = {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}
FAULTS: list[tuple[str, Mapping[str, Any], Kind, str]] = [
    (INSTRUCT, {"image": None}, Kind.SCHEMA, "image is missing"),
    (
        INSTRUCT,
        {"image": ["a.jpg"]},
        Kind.SCHEMA,
        "image: Input should be a valid string, got ['a.jpg']",
    ),
    (INSTRUCT, {"conversations": None}, Kind.SCHEMA, "conversations is missing"),
    (INSTRUCT, {"conversations": "Hello"}, Kind.SCHEMA, "got 'Hello'"),
    (INSTRUCT, {"conversations": []}, Kind.EMPTY_CONVERSATION, "conversations has no messages"),
    (
        INSTRUCT,
        {"conversations": [HUMAN, {"from": "gpt", "value": " \n"}]},
        Kind.EMPTY_CONVERSATION,
        "conversations[1] is an empty answer",
    ),
    (
        INSTRUCT,
        {"conversations": [{"from": "human", "value": " "}, GPT]},
        Kind.EMPTY_CONVERSATION,
        "conversations[0] is an empty question",
    ),
    (
        INSTRUCT,
        {"conversations": [GPT, HUMAN]},
        Kind.WRONG_SPEAKER,
        "conversations[0] is from 'gpt'; expected 'human'",
    ),
    (
        INSTRUCT,
        {"conversations": [HUMAN, GPT, HUMAN]},
        Kind.WRONG_SPEAKER,
        "3 messages; the last question has no answer",
    ),
    (
        INSTRUCT,
        {"conversations": [HUMAN, {"from": "bing", "value": "x"}]},
        Kind.WRONG_SPEAKER,
        "conversations[1].from: Input should be 'human' or 'gpt', got 'bing'",
    ),
    (
        INSTRUCT,
        {"conversations": [HUMAN, {"from": "gpt", "value": "\ud83d"}]},
        Kind.SCHEMA,
        "conversations[1].value: character 0 is not valid Unicode",
    ),
    (
        INSTRUCT,
        {"conversations": [{"from": "human", "value": "<image>\n<image>\nWhy?"}, GPT]},
        Kind.PLACEHOLDER,
        "conversations[0] has <image> as placeholder 2 of a picture, but image names 1",
    ),
    (INSTRUCT, {"id": {"a": 1}}, Kind.SCHEMA, "id: "),
    ("Classification_CIFAR10.json", {"query": " "}, Kind.SCHEMA, "query: text is empty"),
    ("Classification_CIFAR10.json", {"label": 3}, Kind.SCHEMA, "label: "),
    ("Detection_VOC2012.json", {"object": []}, Kind.SCHEMA, "object: "),
    (
        "Detection_VOC2012.json",
        {"object": [{"label": "dog", "bbox": [0.1, 0.2, 0.3]}]},
        Kind.SCHEMA,
        "object[0].bbox[3] is missing",
    ),
    (
        "Detection_VOC2012.json",
        {"object": [{"label": "dog", "bbox": [0.1, 0.2, 0.3, float("nan")]}]},
        Kind.SCHEMA,
        "object[0].bbox[3]: Input should be a finite number, got nan",
    ),
    ("VQA_AI2D.json", {"gt_choice": 2}, Kind.SCHEMA, "gt_choice is 2; expected 0 to 1"),
    ("VQA_ScanQA_multiplechoice.json", {"gt_choices": ["one"]}, Kind.SCHEMA, "gt_choices: "),
    ("Caption_flickr30k.json", {"sentences": [""]}, Kind.SCHEMA, "sentences[0]: text is empty"),
    ("Counting_FSC147.json", {"num": -1}, Kind.SCHEMA, "num: "),
    (
        "Facial_Classification_CelebA(Smile).json",
        {"attr": "2"},
        Kind.SCHEMA,
        "attr: Input should be '1' or '-1', got '2'",
    ),
    (
        "Locating_LSP.json",
        {"gt_joints": [[1, 2]] * 13},
        Kind.SCHEMA,
        "gt_joints has 13 joints; expected 14",
    ),
    ("VG_ScanRefer.json", {"object": [1, 2, 3]}, Kind.SCHEMA, "at least 6 items"),
    ("VG_ScanRefer.json", {"object": [1] * 9}, Kind.SCHEMA, "at most 7 items"),
    ("Detection_ScanNet.json", {"pcl": None}, Kind.SCHEMA, "pcl is missing"),
]


@pytest.mark.parametrize(("name", "fields", "kind", "message"), FAULTS)
def test_an_unusable_record_is_named_and_left_out(
    tree: Tree, name: str, fields: dict[str, Any], kind: Kind, message: str
) -> None:
    tree.set(name, 1, **fields)
    records, complaints = read(tree, name)
    assert [one.index for one in records] == [0]
    (complaint,) = complaints
    assert (complaint.kind, complaint.index) == (kind, 1)
    assert message in complaint.message
    assert name in str(complaint)
    if "id" not in fields:
        assert "(id '000001')" in str(complaint)


DOUBTS: list[tuple[str, Mapping[str, Any], Kind, str]] = [
    (INSTRUCT, {"task_type": "poetry"}, Kind.UNKNOWN_TASK_TYPE, "task_type is 'poetry'"),
    (INSTRUCT, {"id": None}, Kind.RECORD_ID, "id is missing"),
    (INSTRUCT, {"image": "/etc/hostname"}, Kind.MEDIA_OUTSIDE, "'/etc/hostname'"),
    (INSTRUCT, {"image": "a/../../secret.png"}, Kind.MEDIA_OUTSIDE, "lies outside 2D_Instruct"),
    (
        "Detection_VOC2012.json",
        {"object": [{"label": "dog", "bbox": [0.5, 0.2, 0.1, 0.9]}]},
        Kind.BOX,
        "object[0]: box [0.5, 0.2, 0.1, 0.9] has no area",
    ),
    (
        "Detection_VOC2012.json",
        {"object": [{"label": "dog", "bbox": [10, 20, 300, 400]}]},
        Kind.BOX,
        "is outside 0 to 1",
    ),
    ("Locating_FSC147.json", {"num": 3}, Kind.BOX, "num is 3, but points has 2 points"),
    ("VG_ScanRefer.json", {"object": [0, 0, 0, 1, 0, 1]}, Kind.BOX, "has no volume"),
    ("VG_ScanRefer.json", {"object": [0, 0, 0, 1, 1, 1, 90]}, Kind.BOX, "yaw 90; expected radians"),
    (
        "Detection_ScanNet.json",
        {"object": [{"label": "bed", "bbox": [0, 0, 0, 1, -1, 1]}]},
        Kind.BOX,
        "object[0]",
    ),
]


@pytest.mark.parametrize(("name", "fields", "kind", "message"), DOUBTS)
def test_a_doubtful_record_is_named_and_kept(
    tree: Tree, name: str, fields: dict[str, Any], kind: Kind, message: str
) -> None:
    tree.set(name, 1, **fields)
    records, complaints = read(tree, name)
    assert [one.index for one in records] == [0, 1]
    assert [complaint.kind for complaint in complaints] == [kind]
    assert message in complaints[0].message
    if kind is Kind.MEDIA_OUTSIDE:
        assert records[1].media is None


def test_numbers_may_be_written_as_text_and_the_reverse(tree: Tree) -> None:
    smile = "Facial_Classification_CelebA(Smile).json"
    tree.set(smile, 0, attr=1, id=7)
    tree.set("Counting_FSC147.json", 0, num="12")
    records, complaints = read(tree, smile)
    assert complaints == []
    assert isinstance(records[0].record, Smile)
    assert (records[0].record.attr, records[0].record.id) == ("1", "7")
    assert read(tree, "Counting_FSC147.json")[1] == []


def test_a_file_that_breaks_gives_what_it_has(tree: Tree) -> None:
    path = tree.path(INSTRUCT)
    path.write_bytes(path.read_bytes()[:-40])
    records, complaints = read(tree, INSTRUCT)
    assert len(records) == 1
    (complaint,) = complaints
    assert complaint.kind is Kind.UNREADABLE
    assert "(1 items read)" in str(complaint)


def test_items_that_are_no_objects_do_not_shift_the_others(tree: Tree) -> None:
    tree.edit(INSTRUCT, lambda records: records.insert(1, "not a record"))  # type: ignore[arg-type]
    records, complaints = read(tree, INSTRUCT)
    assert [(one.index, one.record.id) for one in records] == [(0, "000000"), (2, "000001")]
    assert "expected an object, got str" in str(complaints[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./scannet_pcls/a.npy", "scannet_pcls/a.npy"),
        ("coco_images/a b.jpg", "coco_images/a b.jpg"),
        ("a/../b.jpg", "a/../b.jpg"),
        ("../b.jpg", None),
        ("./../b.jpg", None),
        ("/b.jpg", None),
        ("a\0b.jpg", None),
    ],
)
def test_media_paths(name: str, expected: str | None) -> None:
    root = Path("root")
    assert resolve_media(root, name) == (None if expected is None else root / expected)


def test_a_message_cannot_steer_the_terminal() -> None:
    shown = str(Complaint(Kind.BOX, "a.json", "red \x1b[31m text \udcff", 3, "\x07"))
    assert shown == "a.json: record 3 (id '\\x07'): red \\x1b[31m text \\udcff"


def test_unknown_files_are_listed(tree: Tree) -> None:
    (tree.root / "2D_Benchmark" / META_FOLDER / "Classification_CIFAR100.json").write_text("[]")
    assert list(unknown_files(tree.root)) == ["2D_Benchmark/meta_file/Classification_CIFAR100.json"]
