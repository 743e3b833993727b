"""`parse(render(answer)) == answer` for every task, and no text at all makes a parser raise."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lamm_model.conversation import Modality
from lamm_model.tasks import TASKS, ParseStatus
from lamm_model.tasks.boxes_3d import (
    Box3DAnswer,
    Detection3DAnswer,
    Detection3DInputs,
    GroundingInputs,
    Object3D,
)
from lamm_model.tasks.classification import (
    ClassificationAnswer,
    ClassificationInputs,
)
from lamm_model.tasks.counting import MAX_COUNT, CountingAnswer, CountingInputs
from lamm_model.tasks.detection import DetectedObject, DetectionAnswer, DetectionInputs
from lamm_model.tasks.free_text import CaptionInputs, QuestionInputs, TextAnswer
from lamm_model.tasks.keypoints import KeypointInputs, PointAnswer
from lamm_model.tasks.label_sets import HAIR_COLOURS, JOINTS, UCMERCED
from lamm_model.tasks.locating import LocatingInputs
from lamm_model.tasks.ocr import OcrAnswer, OcrInputs
from lamm_model.tasks.ocr_words import OcrWordsAnswer, OcrWordsInputs
from lamm_model.tasks.smile import SmileAnswer, SmileInputs
from lamm_model.tasks.targets import LocatedObject, LocatingAnswer
from lamm_model.tasks.vqa_choice import ChoiceAnswer, ChoiceInputs

RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
LABEL_TEXT = st.text(
    st.characters(categories=("L", "N"), include_characters=" -/'&."), min_size=1, max_size=16
)


@st.composite
def closed_sets(draw: st.DrawFn) -> tuple[str, ...]:
    texts = draw(st.lists(LABEL_TEXT, min_size=2, max_size=8, unique=True))
    try:
        ClassificationInputs(labels=tuple(texts))
    except ValidationError:
        texts = ["coat", "ankle boot"]
    return tuple(texts)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x1, x2 = sorted(draw(st.tuples(st.integers(0, 100), st.integers(0, 100))))
    y1, y2 = sorted(draw(st.tuples(st.integers(0, 100), st.integers(0, 100))))
    return x1 / 100, y1 / 100, x2 / 100, y2 / 100


@RELAXED
@given(
    labels=closed_sets(),
    data=st.data(),
    name=st.sampled_from(["classification", "classification_3d"]),
)
def test_classification_round_trip(labels: tuple[str, ...], data: st.DataObject, name: str) -> None:
    inputs = ClassificationInputs(labels=labels)
    answer = ClassificationAnswer(label=data.draw(st.sampled_from(labels)))
    result = TASKS[name].parse(TASKS[name].render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(st.from_regex(r"(?!a |an |the |some |pair of )[b-z]{2,8}( [b-z]{2,8}){0,2}", fullmatch=True))
def test_free_classification_round_trip(label: str) -> None:
    task, inputs = TASKS["classification"], ClassificationInputs()
    answer = ClassificationAnswer(label=label)
    assert task.parse(task.render(answer, inputs), inputs).answer == answer


@RELAXED
@given(st.integers(0, MAX_COUNT))
def test_counting_round_trip(count: int) -> None:
    task, answer = TASKS["counting"], CountingAnswer(count=count)
    result = task.parse(task.render(answer, CountingInputs()), CountingInputs())
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(data=st.data(), labels=closed_sets())
def test_detection_round_trip(data: st.DataObject, labels: tuple[str, ...]) -> None:
    inputs = DetectionInputs(labels=labels)
    objects = st.builds(DetectedObject, label=st.sampled_from(labels), bbox=boxes())
    answer = DetectionAnswer(objects=tuple(data.draw(st.lists(objects, max_size=6))))
    result = TASKS["detection"].parse(TASKS["detection"].render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(
    choices=st.lists(st.text(min_size=0, max_size=12), min_size=2, max_size=26, unique=True),
    data=st.data(),
    name=st.sampled_from(["vqa_choice", "vqa_choice_3d"]),
)
def test_choice_round_trip(choices: list[str], data: st.DataObject, name: str) -> None:
    inputs = ChoiceInputs(question="Which?", choices=tuple(choices))
    answer = ChoiceAnswer(choice=data.draw(st.integers(0, len(choices) - 1)))
    result = TASKS[name].parse(TASKS[name].render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(
    st.text(
        st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters='"\u201c\u201d'),
        max_size=20,
    )
)
def test_ocr_round_trip(text: str) -> None:
    try:
        answer = OcrAnswer(text=text.strip())
    except ValidationError:
        return
    assert (
        TASKS["ocr"].parse(TASKS["ocr"].render(answer, OcrInputs()), OcrInputs()).answer == answer
    )


ONE_LINE = st.text(
    st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters='"\u201c\u201d'),
    max_size=40,
)
SENTENCES = st.one_of(
    ONE_LINE, st.from_regex(r"(the |answer|is|caption|: |\. |[a-z0-9]{1,5} ){1,8}", fullmatch=True)
)
POINTS = st.tuples(*[st.integers(0, 1000).map(lambda n: n / 1000)] * 2)
METRES = st.integers(-99_999, 99_999).map(lambda n: n / 100)
EXTENTS = st.integers(0, 9_999).map(lambda n: n / 100)
YAWS = st.integers(-628, 628).map(lambda n: n / 100)
BOXES_3D = st.one_of(
    st.tuples(METRES, METRES, METRES, EXTENTS, EXTENTS, EXTENTS),
    st.tuples(METRES, METRES, METRES, EXTENTS, EXTENTS, EXTENTS, YAWS),
)


@RELAXED
@given(text=SENTENCES, name=st.sampled_from(["vqa", "caption"]))
def test_free_text_round_trip(text: str, name: str) -> None:
    try:
        answer = TextAnswer(text=text.strip())
    except ValidationError:
        return
    inputs = QuestionInputs(question="What?") if name == "vqa" else CaptionInputs()
    result = TASKS[name].parse(TASKS[name].render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(st.lists(ONE_LINE, max_size=6))
def test_ocr_words_round_trip(words: list[str]) -> None:
    task, inputs = TASKS["ocr_words"], OcrWordsInputs()
    answer = OcrWordsAnswer(words=tuple(word for text in words for word in text.split()))
    result = task.parse(task.render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@pytest.mark.parametrize(
    ("name", "labels"), [("facial_hair", HAIR_COLOURS), ("fine_grained_classification", UCMERCED)]
)
def test_closed_set_round_trip(name: str, labels: tuple[str, ...]) -> None:
    for label in labels:
        answer, inputs = ClassificationAnswer(label=label), ClassificationInputs()
        result = TASKS[name].parse(TASKS[name].render(answer, inputs), inputs)
        assert (result.answer, result.status) == (answer, ParseStatus.OK)


@pytest.mark.parametrize("smiling", [True, False])
def test_smile_round_trip(smiling: bool) -> None:
    task, answer = TASKS["facial_smile"], SmileAnswer(smiling=smiling)
    result = task.parse(task.render(answer, SmileInputs()), SmileInputs())
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(point=POINTS, joint=st.sampled_from(JOINTS), size=st.none() | st.just((640, 480)))
def test_keypoint_round_trip(
    point: tuple[float, float], joint: str, size: tuple[int, int] | None
) -> None:
    task, inputs = TASKS["keypoints"], KeypointInputs(joint=joint, size=size)
    result = task.parse(task.render(PointAnswer(point=point), inputs), inputs)
    assert (result.answer, result.status) == (PointAnswer(point=point), ParseStatus.OK)


@RELAXED
@given(data=st.data(), labels=closed_sets(), labelled=st.booleans())
def test_locating_round_trip(data: st.DataObject, labels: tuple[str, ...], labelled: bool) -> None:
    label = st.sampled_from(labels) if labelled else st.none()
    objects = data.draw(st.lists(st.builds(LocatedObject, label=label, point=POINTS), max_size=5))
    answer, inputs = LocatingAnswer(objects=tuple(objects)), LocatingInputs(labels=labels)
    result = TASKS["locating"].parse(TASKS["locating"].render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(data=st.data(), labels=closed_sets())
def test_detection_3d_round_trip(data: st.DataObject, labels: tuple[str, ...]) -> None:
    objects = st.builds(Object3D, label=st.sampled_from(labels), bbox=BOXES_3D)
    answer = Detection3DAnswer(objects=tuple(data.draw(st.lists(objects, max_size=5))))
    task, inputs = TASKS["detection_3d"], Detection3DInputs(labels=labels)
    result = task.parse(task.render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@pytest.mark.parametrize("label", ["yaw", "YAW", "heading", "yaw of", "rotation", "angle of a box"])
def test_things_named_like_a_rotation_are_labels(label: str) -> None:
    task, inputs = TASKS["detection_3d"], Detection3DInputs(labels=(label, "chair"))
    for bbox in ((0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 0.5)):
        objects = (Object3D(label=label, bbox=bbox), Object3D(label="chair", bbox=bbox))
        answer = Detection3DAnswer(objects=(*objects, objects[0]))
        result = task.parse(task.render(answer, inputs), inputs)
        assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(BOXES_3D)
def test_grounding_round_trip(bbox: tuple[float, ...]) -> None:
    task, inputs = TASKS["grounding_3d"], GroundingInputs(description="the red chair")
    answer = Box3DAnswer(bbox=bbox)
    result = task.parse(task.render(answer, inputs), inputs)
    assert (result.answer, result.status) == (answer, ParseStatus.OK)


@RELAXED
@given(
    text=st.one_of(
        st.text(max_size=80), st.from_regex(r"[\[\](){},.;0-9 %\-a-d]{0,60}", fullmatch=True)
    )
)
def test_no_text_makes_a_parser_raise(text: str) -> None:
    inputs = {
        "vqa_choice": ChoiceInputs(question="Which?", choices=("red", "dark red")),
        "vqa_choice_3d": ChoiceInputs(question="Which?", choices=("1", "2")),
        "keypoints": KeypointInputs(joint="neck", size=(30, 20)),
    }
    for name, task in TASKS.items():
        fields = task.inputs_model.model_fields
        needed = {key: task.example[key] for key, info in fields.items() if info.is_required()}
        result = task.parse(text, inputs.get(name) or task.inputs_model(**needed))
        assert (result.answer is None) == (result.status is ParseStatus.UNPARSED)


@pytest.mark.parametrize("name", TASKS)
def test_registry_entries_name_themselves_and_give_schemas(name: str) -> None:
    task = TASKS[name]
    assert task.name == name
    assert (task.modality is Modality.POINT_CLOUD) == name.endswith("_3d")
    assert task.answer_model.model_json_schema()["properties"]
    assert task.inputs_model.model_json_schema()["type"] == "object"


def test_labels_that_no_text_can_tell_apart_are_refused() -> None:
    with pytest.raises(ValidationError, match="'boot' and 'Boots' cannot be told apart"):
        ClassificationInputs(labels=("boot", "Boots"))
    with pytest.raises(ValidationError, match="no letter and no digit"):
        ClassificationInputs(labels=("boot", "??"))


def test_importing_tasks_loads_no_torch() -> None:
    code = "import sys, lamm_model.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
