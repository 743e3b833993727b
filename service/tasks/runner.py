"""One task request: plans it, runs it, parses the answer and draws it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lamm_model.conversation import Modality
from lamm_model.tasks import AnyTask
from lamm_model.tasks.base import Option
from lamm_model.tasks.models import AnswerModel, TaskModel
from service.dependencies import Timeouts
from service.exceptions import RequestError
from service.media.pool_config import Precedence
from service.plan.input_processor import PlannedRequest
from service.schemas.media import CloudMedia, PictureMedia
from service.schemas.messages import ChatMessage, TextPart
from service.schemas.openai import ChatCompletionRequest
from service.schemas.tasks import (
    ClippedPlace,
    CloudTaskRequest,
    PlaceScore,
    Score,
    TaskRequest,
    TaskResponse,
)
from service.tasks.answer_grammar import form_of
from service.tasks.marks import marks_of
from service.tasks.models import SAMPLING_FIELDS
from service.tasks.outcome import Outcome, TaskQuestion, generate, score
from service.tasks.places import CloudFrame, Frame, PictureFrame, placed, repairs
from service.tasks.scores import Scorer, calibration_for

_OVERLAY_TYPES = {"png": "image/png", "ply": "application/octet-stream"}


async def answer_task(
    question: TaskQuestion, timeouts: Timeouts, release: Callable[[], None]
) -> tuple[TaskResponse, str]:
    """The response, and the value of its `Server-Timing` header. Cancelling aborts the request.

    Args:
        question: the task and the request, an instance of the task's own model.
        timeouts: limits on the wait for the first token or score.
        release: called once the request's body is no longer needed.

    Raises:
        RequestError, SamplingParamsError, PromptError, EngineError: as for chat; `param` names a
            field of the task's body.
    """
    task, body, model = question.task, question.body, question.model
    options = await asyncio.to_thread(_options, task, body)
    planned = await _plan(question, likelihood=bool(options))
    if body.overlay is None:
        body.forget_medium()
        release()
    frame = _frame(body, planned)
    inputs = _sized(body.inputs, frame)
    if options:
        outcome = await score(question, planned, options, timeouts)
    else:
        outcome = await generate(question, planned, timeouts)
    read = outcome.read
    if read is None:
        read = await asyncio.to_thread(task.parse, outcome.text, inputs)
    scored, scores = await asyncio.to_thread(
        _scores, question, planned, outcome, inputs, read.answer
    )
    clipped, dropped = await asyncio.to_thread(repairs, task, outcome.text, inputs, read.answer)
    overlay = await _overlay(question, planned, read.answer, inputs, frame, scores or [])
    model.metrics.task_answered(task.name, read.status)
    response = TaskResponse(
        id=f"task-{planned.completion_id.rpartition('-')[2]}",
        created=int(time.time()),
        model=model.name,
        system_fingerprint=model.fingerprint,
        task=task.name,
        mode=body.mode,
        answer=None if read.answer is None else placed(read.answer, frame),
        parse_status=read.status,
        text=outcome.text,
        finish_reason=outcome.finish_reason,
        usage=outcome.usage,
        media=_media(frame, planned),
        clipped=[ClippedPlace(**asdict(one)) for one in clipped],
        dropped=dropped,
        score=scored,
        scores=scores,
        options=outcome.options,
        overlay=overlay,
    )
    return response, outcome.timing


def _options(task: AnyTask, body: TaskRequest) -> tuple[Option, ...]:
    """The options of mode `likelihood`; empty in mode `text`."""
    if body.mode == "text":
        return ()
    if body.constrain:
        raise RequestError(
            "constrain is true, but mode 'likelihood' generates no text", param="constrain"
        )
    options = task.options(body.inputs)
    if not options:
        raise RequestError(
            f"mode is 'likelihood', but the answers of task {task.name!r} have no closed set here; "
            "give one in inputs.labels",
            param="mode",
        )
    return options


async def _plan(question: TaskQuestion, *, likelihood: bool) -> PlannedRequest:
    body = question.body
    has_logprobs = not body.constrain or question.model.engine.grammar_logprobs
    text = TextPart(type="text", text=question.task.prompt(body.inputs))
    form = None
    if body.constrain:
        stops = question.model.processor.stop_strings
        form = await asyncio.to_thread(form_of, question.task, body.inputs, stops)
    chat = ChatCompletionRequest(
        model=question.model.name,
        task=question.task.name,
        messages=[ChatMessage(role="user", content=[body.part(), text])],
        # Those of the chosen tokens, for the scores.
        logprobs=has_logprobs and not likelihood,
        **{name: getattr(body, name) for name in SAMPLING_FIELDS},
    )
    with _own_params(body):
        return await question.model.processor.plan(
            chat,
            question.owner,
            default_max_tokens=1 if likelihood else question.task.max_tokens,
            keep_media=body.overlay is not None,
            form=form,
            patient=question.caller.patient,
        )


@contextlib.contextmanager
def _own_params(body: TaskRequest) -> Iterator[None]:
    """In errors, `messages[0].content[0].image_url` is `image_url`, other messages are `inputs`."""
    try:
        yield
    except RequestError as error:
        if error.param is not None and error.param.startswith("messages"):
            _, found, rest = error.param.partition(f".{body.medium}")
            error.param = f"{body.medium}{rest}" if found else "inputs"
        raise


def _scores(
    question: TaskQuestion,
    planned: PlannedRequest,
    outcome: Outcome,
    inputs: TaskModel,
    answer: AnswerModel | None,
) -> tuple[Score | None, list[PlaceScore] | None]:
    """The scores of the answer and of its places; no answer has no score."""
    body, params = question.body, planned.sequences[0].sampling_params
    calibration = calibration_for(params, body.constrain, question.model.calibration)
    scorer = Scorer(question.task, calibration)
    if answer is None:
        return None, []
    if outcome.options is not None:
        return scorer.of_option(max(one.probability for one in outcome.options)), []
    return scorer.of_text(outcome.text, outcome.tokens, inputs, answer)


def _frame(body: TaskRequest, planned: PlannedRequest) -> Frame:
    info = _info(planned)
    if not isinstance(body, CloudTaskRequest):
        return PictureFrame.of(info)
    low, high = info["bounds"]
    return CloudFrame(body.point_cloud_url.units, info["up_axis"], (low, high), info["shift"])


def _info(planned: PlannedRequest) -> dict[str, Any]:
    [span] = planned.sequences[0].media
    return dict(span.media.info)


def _sized(inputs: TaskModel, frame: Frame) -> TaskModel:
    """The inputs with the picture's size, if the task reads answers in pixels."""
    if isinstance(frame, PictureFrame) and "size" in type(inputs).model_fields:
        return inputs.model_copy(update={"size": frame.answer_size})
    return inputs


async def _overlay(
    question: TaskQuestion,
    planned: PlannedRequest,
    answer: AnswerModel | None,
    inputs: TaskModel,
    frame: Frame,
    scores: Sequence[PlaceScore],
) -> str | None:
    body = question.body
    if body.overlay is None or answer is None:
        return None
    [item] = planned.media_items
    precedence = Precedence(planned.sequences[0].priority, question.caller.patient)
    with _own_params(body):
        drawn = await question.model.processor.media.draw(
            item, marks_of(question.task, answer, inputs, frame, scores), precedence
        )
    text = await asyncio.to_thread(base64.b64encode, drawn)
    return f"data:{_OVERLAY_TYPES[body.overlay]};base64,{text.decode('ascii')}"


def _media(frame: Frame, planned: PlannedRequest) -> PictureMedia | CloudMedia:
    info = _info(planned)
    if isinstance(frame, PictureFrame):
        return PictureMedia.model_validate({**info, "modality": Modality.IMAGE.value})
    return CloudMedia.model_validate(
        {
            **info,
            "modality": Modality.POINT_CLOUD.value,
            "units": frame.units,
            "bounds": frame.file_bounds(),
            "center": frame.along_file(info["center"]),
            "shift": frame.along_file(frame.shift),
        }
    )
