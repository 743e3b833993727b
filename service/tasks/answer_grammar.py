"""The form that a task's answer can be held to while it is written: what its `render` writes. Pure.

Called by `task_models` (which tasks have one) and `task_runner`. A text of the form is read back
whole, with no repair: boxes have their corners in order, extents are not negative.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamm_model.tasks import AnyTask
from lamm_model.tasks.base import TaskModel
from lamm_model.tasks.boxes_3d import Detection3DAnswer, Detection3DTask, GroundingTask
from lamm_model.tasks.classification import ClassificationInputs
from lamm_model.tasks.counting import CountingTask
from lamm_model.tasks.detection import DetectionAnswer, DetectionTask
from lamm_model.tasks.points import KeypointTask, LocatingTask
from lamm_model.tasks.reading.places import label_pattern_fault
from lamm_model.tasks.targets import LocatingAnswer
from service.exceptions import RequestError
from service.tasks.options import has_options, options_of

# A number of two decimals from 0 to 1, one of three, and metres to the centimetre.
_SHARE = r"(0\.[0-9]{2}|1\.00)"
_FINE_SHARE = r"(0\.[0-9]{3}|1\.000)"
_METRES, _EXTENT = r"-?(0|[1-9][0-9]{0,2})\.[0-9]{2}", r"(0|[1-9][0-9]{0,2})\.[0-9]{2}"
# Models begin with a space where their training did; answers lose it. They close a sentence, and
# where their training ended answers by a string rather than by a token, they must be let say that.
_START = 'start: " "? answer END?\n'
_POINT = rf"/\[{_FINE_SHARE}, {_FINE_SHARE}\]/"
_BOX_3D = rf"/\[({_METRES}, ){{3}}{_EXTENT}(, {_EXTENT}){{2}}\]/"
_COUNT = "/0|[1-9][0-9]{0,4}/"


def has_form(task: AnyTask) -> bool:
    """Whether answers of the task have a form, at least for some inputs."""
    with_form = CountingTask | KeypointTask | GroundingTask
    return has_options(task) or isinstance(task, with_form) or _nothing_of(task) is not None


def form_of(task: AnyTask, inputs: TaskModel, stops: Sequence[str] = ()) -> str:
    """The form of an answer to these inputs, as a grammar in llguidance's Lark.

    `stops` are the strings that end this model's answers; they are no part of them.

    Raises:
        RequestError: the inputs leave the words to the model.
    """
    stop = rf"\n*({'|'.join(map(_escaped, stops))})"
    end = rf"\.({stop})?|{stop}" if stops else r"\."
    return f"{_answer_form(task, inputs)}\nEND: /{end}/"


def _answer_form(task: AnyTask, inputs: TaskModel) -> str:
    if options := options_of(task, inputs):
        texts = [task.render(option.answer, inputs) for option in options]
        return f"{_START}answer: {_any_of(texts)}"
    if isinstance(task, CountingTask):
        return f"{_START}answer: {_COUNT}"
    if isinstance(task, KeypointTask):
        return f"{_START}answer: {_POINT}"
    if isinstance(task, GroundingTask):
        return f"{_START}answer: {_BOX_3D}"
    nothing = _nothing_of(task)
    labels = inputs.labels if isinstance(inputs, ClassificationInputs) else None
    if nothing is None or not labels:
        raise RequestError(
            f"constrain is true, but the answers of task {task.name!r} have words of the model's "
            "own here; name a closed set in inputs.labels",
            param="constrain",
        )
    return _list_form(labels, _place_of(task), nothing)


def _list_form(labels: Sequence[str], place: str, nothing: str) -> str:
    for label in labels:
        if fault := label_pattern_fault(label):
            raise RequestError(f"constrain is true, but {fault}", param="inputs.labels")
    return "\n".join([
        f'{_START}answer: NOTHING | item ("; " item)*',
        'item: LABEL " " PLACE',
        f"NOTHING: {_any_of([nothing])}",
        f"LABEL: {_any_of(labels)}",
        f"PLACE: {place}",
    ])  # fmt: skip


def _nothing_of(task: AnyTask) -> str | None:
    """How a task that lists objects says that there are none; None for any other task."""
    if isinstance(task, DetectionTask):
        return task.render(DetectionAnswer(objects=()), task.inputs_model())
    if isinstance(task, LocatingTask):
        return task.render(LocatingAnswer(objects=()), task.inputs_model())
    if isinstance(task, Detection3DTask):
        return task.render(Detection3DAnswer(objects=()), task.inputs_model())
    return None


def _place_of(task: AnyTask) -> str:
    if isinstance(task, DetectionTask):
        return _box()
    return _POINT if isinstance(task, LocatingTask) else _BOX_3D


def _box() -> str:
    """A box whose second corner is not before its first, in either direction."""
    between = f", {_SHARE}, "
    return rf"/\[{_in_order(between)}, {_SHARE}\]/ & /\[{_SHARE}, {_in_order(between)}\]/"


def _in_order(between: str) -> str:
    """A share, what stands between, and a share that is not smaller."""
    pairs = [rf"1\.00{between}1\.00"]
    for tens in range(10):
        more = rf"1\.00|0\.[{tens + 1}-9][0-9]" if tens < 9 else r"1\.00"
        pairs += [rf"0\.{tens}{ones}{between}({more}|0\.{tens}[{ones}-9])" for ones in range(10)]
    return f"({'|'.join(pairs)})"


def _any_of(texts: Sequence[str]) -> str:
    """One of several texts, whatever characters they have."""
    return f"/{'|'.join(map(_escaped, texts))}/"


def _escaped(text: str) -> str:
    return "".join(map(_character, text))


def _character(character: str) -> str:
    return character if character.isalnum() else f"\\x{{{ord(character):x}}}"
