"""The grammar of a task's answer: the task's own rules with a leading space and an end.

`parse` reads a text of the grammar without repairs: boxes have ordered corners, extents are not
negative.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamm_model.tasks import AnyTask
from lamm_model.tasks.grammar import escaped
from lamm_model.tasks.models import TaskModel
from service.exceptions import RequestError


def form_of(task: AnyTask, inputs: TaskModel, stops: Sequence[str] = ()) -> str:
    """The grammar of an answer to these inputs, in llguidance's Lark.

    Models may start with a space, as in training, which is stripped. They may end with a full stop,
    and with one of `stops` if their training data ended answers with a string instead of a token.

    Args:
        task: the task whose `form` holds the answer.
        inputs: the request's inputs.
        stops: strings that end this model's answers and are not part of them.

    Raises:
        RequestError: the inputs define no closed set, or a label cannot be separated from a place.
    """
    try:
        rules = task.form(inputs)
    except ValueError as error:
        raise RequestError(f"constrain is true, but {error}", param="inputs.labels") from None
    if rules is None:
        raise RequestError(
            f"constrain is true, but the answers of task {task.name!r} are free text here; give a "
            "closed set in inputs.labels",
            param="constrain",
        )
    stop = rf"\n*({'|'.join(map(escaped, stops))})"
    end = rf"\.({stop})?|{stop}" if stops else r"\."
    return f'start: " "? answer END?\n{rules}\nEND: /{end}/'
