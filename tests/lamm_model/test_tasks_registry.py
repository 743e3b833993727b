"""A task is one module: found by the registry, and complete without a word about it elsewhere."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from typing_extensions import override

import lamm_model.tasks
from lamm_model.conversation import Modality
from lamm_model.tasks import TASKS, ParseResult, ParseStatus, Sample, Task
from lamm_model.tasks.models import AnswerModel, Mark, PicturePoint, PlaceKind, TaskModel
from lamm_model.tasks.targets import Region

ROOT = Path(__file__).parents[2]
MODULES = [
    importlib.import_module(f"lamm_model.tasks.{module.name}")
    for module in pkgutil.iter_modules(lamm_model.tasks.__path__)
]


class Inputs(TaskModel):
    pass


class Answer(AnswerModel):
    text: str


class EchoTask(Task[Inputs, Answer]):
    """The least that a task defines."""

    inputs_model = Inputs
    answer_model = Answer

    @override
    def prompt(self, inputs: Inputs) -> str:
        return "Say it."

    @override
    def _parse(self, text: str, inputs: Inputs) -> ParseResult[Answer]:
        return ParseResult(Answer(text=text), ParseStatus.OK)

    @override
    def render(self, answer: Answer, inputs: Inputs) -> str:
        return answer.text

    @override
    def read_sample(self, sample: Sample) -> tuple[Inputs, Answer]:
        return Inputs(), Answer(text=sample.target)


ECHO = EchoTask("echo", Modality.IMAGE, "Says it again.")


def test_the_registry_holds_what_the_modules_list_pictures_first() -> None:
    listed = [task for module in MODULES for task in getattr(module, "TASKS", ())]
    assert len(listed) == len(TASKS)
    assert {task.name: task for task in listed} == dict(TASKS)
    order = [(task.modality is Modality.POINT_CLOUD, name) for name, task in TASKS.items()]
    assert order == sorted(order)


def test_two_tasks_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(name: str) -> ModuleType | SimpleNamespace:
        return SimpleNamespace(TASKS=(ECHO,))

    monkeypatch.setattr(importlib, "import_module", twice)
    with pytest.raises(ValueError, match="defines task 'echo', which exists already"):
        lamm_model.tasks._discovered()


def test_a_simple_task_needs_nothing_else() -> None:
    answer, inputs = Answer(text="yes"), Inputs()
    assert (ECHO.options(inputs), ECHO.form(inputs), ECHO.chance(inputs)) == ((), None, None)
    assert not ECHO.has_options
    assert not ECHO.has_form
    assert ECHO.marks(answer, inputs) == (Mark("yes"),)
    assert ECHO.written_places("[0.1, 0.2]", inputs) == []
    assert ECHO.is_hit(answer, Answer(text="yes"))
    assert not ECHO.is_hit(None, answer)
    score = ECHO.score([(answer, answer), (None, answer)])
    assert {name: estimate.value for name, estimate in score.items()} == {"accuracy": 0.5}


@pytest.mark.parametrize("name", TASKS)
def test_an_example_is_what_the_flags_promise(name: str) -> None:
    task = TASKS[name]
    inputs = task.inputs_model.model_validate(task.example)
    assert bool(task.options(inputs)) == task.has_options
    assert (task.form(inputs) is not None) == task.has_form
    options = task.options(inputs)
    assert task.chance(inputs) == (pytest.approx(1 / len(options)) if options else None)


class Spots(AnswerModel):
    label: str
    points: tuple[PicturePoint, ...]


class Scene(AnswerModel):
    """No field but `spots` and `best` is a place."""

    size: tuple[int, int]
    spots: tuple[Spots, ...]
    best: PicturePoint


def test_places_are_found_by_the_types_of_fields() -> None:
    scene = Scene(
        size=(4, 4), spots=(Spots(label="bag", points=((0.1, 0.2), (0.3, 0.4))),), best=(0.5, 0.5)
    )
    assert [(one.path, one.values, one.label) for one in scene.places()] == [
        ("spots[0].points[0]", (0.1, 0.2), "bag"),
        ("spots[0].points[1]", (0.3, 0.4), "bag"),
        ("best", (0.5, 0.5), None),
    ]
    assert {one.kind for one in scene.places()} == {PlaceKind.POINT}
    assert scene.marks()[0] == Mark("bag", point=(0.1, 0.2))
    assert Answer.place_fields() == {}


def test_a_region_is_drawn_as_the_area_in_which_a_point_is_right() -> None:
    box = (0.1, 0.2, 0.3, 0.4)
    assert Region(label="dog", box=box).mark() == Mark("dog", box=box)
    around = Region(label=None, box=(0.5, 0.5, 0.5, 0.5), radius=0.1).mark()
    assert around == Mark("", point=(0.5, 0.5), reach=(0.1, 0.1))


def names_of_tasks_and_answers() -> set[str]:
    classes = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Task | AnswerModel)
    }
    return classes - {"Task", "AnswerModel"}


def checked_types(tree: ast.AST) -> Iterator[str]:
    """Names that `isinstance` or a class pattern asks for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            yield from (one.id for one in ast.walk(node.args[1]) if isinstance(one, ast.Name))
        elif isinstance(node, ast.MatchClass):
            yield from (one.id for one in ast.walk(node.cls) if isinstance(one, ast.Name))


@pytest.mark.parametrize("room", ["service", "benchmark", "training"])
def test_no_room_asks_which_class_a_task_or_an_answer_is(room: str) -> None:
    known = names_of_tasks_and_answers()
    assert {"DetectionTask", "LocatingTarget", "ChoiceAnswer"} <= known
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / room).rglob("*.py")
        for name in checked_types(ast.parse(path.read_text()))
        if name in known
    }
    assert found == set()
