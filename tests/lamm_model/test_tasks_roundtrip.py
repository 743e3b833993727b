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
from lamm_model.tasks.classification import (
    ClassificationAnswer,
    ClassificationInputs,
)
from lamm_model.tasks.counting import MAX_COUNT, CountingAnswer, CountingInputs
from lamm_model.tasks.detection import DetectedObject, DetectionAnswer, DetectionInputs
from lamm_model.tasks.ocr import OcrAnswer, OcrInputs
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
    }
    for name, task in TASKS.items():
        result = task.parse(text, inputs.get(name) or task.inputs_model())
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
