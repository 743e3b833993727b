"""The grammar of a task's answer: the task's own rules between a leading space and the ways to end.

A text of the grammar is read back whole, with no repair: boxes have their corners in order, extents
are not negative.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamm_model.tasks import AnyTask
from lamm_model.tasks.grammar import escaped
from lamm_model.tasks.models import TaskModel
from service.exceptions import RequestError


def form_of(task: AnyTask, inputs: TaskModel, stops: Sequence[str] = ()) -> str:
    """The form of an answer to these inputs, as a grammar in llguidance's Lark.

    Models begin with a space where their training did; answers lose it. They close a sentence, and
    where their training ended answers with a string rather than a token, they need to write that.

    Args:
        task: the task whose `form` holds the answer.
        inputs: the request's inputs.
        stops: strings that end this model's answers and are not part of them.

    Raises:
        RequestError: the inputs leave the words to the model, or a label cannot be told from a
            place.
    """
    try:
        rules = task.form(inputs)
    except ValueError as error:
        raise RequestError(f"constrain is true, but {error}", param="inputs.labels") from None
    if rules is None:
        raise RequestError(
            f"constrain is true, but the answers of task {task.name!r} have words of the model's "
            "own here; name a closed set in inputs.labels",
            param="constrain",
        )
    stop = rf"\n*({'|'.join(map(escaped, stops))})"
    end = rf"\.({stop})?|{stop}" if stops else r"\."
    return f'start: " "? answer END?\n{rules}\nEND: /{end}/'
