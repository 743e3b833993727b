"""The request and response models of each task, made from its definition in `lamm_model.tasks`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, get_args

from pydantic import BaseModel, BeforeValidator, Field, create_model, field_validator
from pydantic_core import PydanticCustomError

from lamm_model.conversation import Modality
from lamm_model.tasks import AnyTask
from lamm_model.tasks.models import AnswerModel, PlaceField, PlaceKind, TaskModel
from service.schemas.media import CloudMedia, PictureMedia
from service.schemas.messages import PointCloudUrl
from service.schemas.openai import ChatCompletionRequest
from service.schemas.tasks import (
    CloudTaskRequest,
    Mode,
    PictureTaskRequest,
    TaskRequest,
    TaskResponse,
    few_fields,
)
from service.tasks.marks import OverlayKind, overlay_kinds

# As in chat, with the same limits, without the fields for several answers and for logprobs.
SAMPLING_FIELDS = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
    "frequency_penalty", "presence_penalty", "stop", "seed", "logit_bias", "user", "priority",
)  # fmt: skip

# The fields that describe how to read a cloud's bytes.
CLOUD_FIELDS = tuple(name for name in PointCloudUrl.model_fields if name not in ("url", "file_id"))

# Where OpenAPI keeps the models that others refer to.
_COMPONENTS = "#/components/schemas/{model}"
_PIXEL_BOX = "x1, y1, x2, y2 in pixels of the picture as a viewer shows it, from the top left"
_SHARE_BOX = "the same in shares of the picture's sides, 0 to 1"
_PIXEL_POINT = "x, y in pixels of the picture as a viewer shows it, from the top left"
_METRE_BOX = (
    "centre x, y, z and extents l, w, h in metres, along the axes of the file; "
    "for a rotated box also its yaw in radians about the up axis, counter-clockwise from above"
)
_UNIT_BOX = "the same in the units of the file; the yaw stays in radians"
_OUTSIDE = "whether no part of the box lies within the bounds of the cloud"

_CONSTRAIN = Field(
    default=False,
    description="constrain the answer to the task's form; lists of objects need inputs.labels",
)

_Box = tuple[float, float, float, float]
_Box3D = Annotated[tuple[float, ...], Field(min_length=6, max_length=7)]
_Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TaskModels:
    """The models and capabilities of one task's route."""

    inputs: type[TaskModel]
    request: type[TaskRequest]
    answer: type[BaseModel]
    response: type[TaskResponse]
    modes: tuple[Mode, ...]
    overlays: tuple[OverlayKind, ...]
    constrain: bool

    @classmethod
    @functools.cache
    def of(cls, task: AnyTask) -> TaskModels:
        """The models of a task, named after it; cached."""
        name = "".join(word.capitalize() for word in task.name.split("_"))
        modes: tuple[Mode, ...] = get_args(Mode) if task.has_options else ("text",)
        overlays = overlay_kinds(task)
        inputs = _inputs_model(task.inputs_model)
        answer = _answer_model(task.answer_model)
        return cls(
            inputs,
            _request_model(f"{name}Request", task, inputs, modes, overlays),
            answer,
            _response_model(f"{name}Response", task, answer, modes),
            modes,
            overlays,
            task.has_form,
        )


def list_fields(inputs: Any) -> frozenset[str]:
    """Names of the fields of an inputs model that are lists."""
    properties = inputs.model_json_schema()["properties"].items()
    return frozenset(name for name, schema in properties if _is_list(schema))


def form_schema(made: TaskModels) -> dict[str, Any]:
    """The OpenAPI schema of the task's multipart form."""
    request = made.request.model_json_schema()["properties"]
    inputs = made.inputs.model_json_schema()
    fields = {name: _given(schema) for name, schema in inputs["properties"].items()}
    for name, schema in request.items():
        if name not in (made.request.medium, "inputs"):
            fields[name] = _given(schema)
    if issubclass(made.request, CloudTaskRequest):
        cloud = PointCloudUrl.model_json_schema(ref_template=_COMPONENTS)["properties"]
        fields |= {name: _given(cloud[name]) for name in CLOUD_FIELDS}
    file = {"type": "string", "format": "binary", "description": made.request.takes}
    return {
        "schema": {
            "type": "object",
            "properties": {"file": file, **fields},
            "required": ["file", *inputs.get("required", ())],
        }
    }


def _request_model(
    name: str,
    task: AnyTask,
    inputs: type[TaskModel],
    modes: tuple[Mode, ...],
    overlays: tuple[OverlayKind, ...],
) -> type[TaskRequest]:
    picture = task.modality is Modality.IMAGE
    bounded = Annotated[inputs, BeforeValidator(few_fields)]  # type: ignore[valid-type]
    needed = any(field.is_required() for field in inputs.model_fields.values())
    fields: dict[str, Any] = {
        "inputs": (bounded, ... if needed else Field(default_factory=inputs)),
        "mode": (Literal[modes], "text"),
        "constrain": (bool if task.has_form else Literal[False], _CONSTRAIN),
        "overlay": (Literal[overlays] | None if overlays else None, None),
    }
    for field in SAMPLING_FIELDS:
        known = ChatCompletionRequest.model_fields[field]
        fields[field] = (known.annotation, known)
    base = PictureTaskRequest if picture else CloudTaskRequest
    return create_model(name, __base__=base, __doc__=task.description, **fields)


def _response_model(
    name: str, task: AnyTask, answer: type[BaseModel], modes: tuple[Mode, ...]
) -> type[TaskResponse]:
    fields: dict[str, Any] = {
        "task": (Literal[task.name], ...),
        "mode": (Literal[modes], ...),
        "answer": (answer | None, ...),
        "media": (PictureMedia if task.modality is Modality.IMAGE else CloudMedia, ...),
    }
    return create_model(name, __base__=TaskResponse, __doc__=TaskResponse.__doc__, **fields)


def _inputs_model(model: type[TaskModel]) -> type[TaskModel]:
    """The task's inputs without `size`, which the server reads from the picture."""
    if "size" not in model.model_fields:
        return model

    def refuse(_: Any) -> NoReturn:
        raise PydanticCustomError("extra_forbidden", "is read from the picture itself")

    return create_model(
        model.__name__,
        __base__=model,
        __doc__=(model.__doc__ or "").split("\n\n", maxsplit=1)[0],
        __validators__={"_no_size": field_validator("size", mode="before")(refuse)},
        __cls_kwargs__={"json_schema_extra": _without_size},
    )


def _without_size(schema: dict[str, Any]) -> None:
    schema["properties"].pop("size", None)


def _answer_model(model: type[AnswerModel]) -> type[BaseModel]:
    """The task's answer with its places in the frame of the file, as `placed` returns them.

    A model without places is returned unchanged.
    """
    places = model.place_fields()
    if not places:
        return model
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        if name in places:
            fields |= _place_fields(name, places[name])
        else:
            fields[name] = (info.annotation, info)
    doc = (model.__doc__ or "").split(";", maxsplit=1)[0]
    return create_model(f"Placed{model.__name__}", __doc__=doc, **fields)


def _place_fields(name: str, place: PlaceField) -> dict[str, Any]:
    if place.model is not None:
        item = _answer_model(place.model)
        return {name: (list[item], ...)}  # type: ignore[valid-type]
    types: dict[str, tuple[Any, str]]
    if place.kind is PlaceKind.POINT:
        types = {name: (_Point, _PIXEL_POINT), f"{name}_normalized": (_Point, _SHARE_BOX)}
    elif place.kind is PlaceKind.BOX:
        types = {name: (_Box, _PIXEL_BOX), f"{name}_normalized": (_Box, _SHARE_BOX)}
    else:
        types = {
            name: (_Box3D, _METRE_BOX),
            f"{name}_in_units": (_Box3D, _UNIT_BOX),
            "outside_cloud": (bool, _OUTSIDE),
        }
    return {
        field: (list[kind] if place.many else kind, Field(description=words))  # type: ignore[valid-type]
        for field, (kind, words) in types.items()
    }


def _given(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema in a form, which has no null: the field is omitted instead."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    rest = {name: schema[name] for name in schema if name not in ("anyOf", "default", "title")}
    if len(kinds) == 1:
        return {**rest, **kinds[0]}
    return {**rest, "anyOf": kinds} if kinds else rest


def _is_list(schema: Mapping[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))
