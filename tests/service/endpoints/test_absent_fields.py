"""Null means the default in every request, and fields without effect take any value."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from lamm_model.tasks import TASKS
from lamm_model.tasks.models import TaskModel
from service.batches.batch import BatchLimits, InputLine
from service.batches.input_lines import PRIORITY, read_lines
from service.schemas.batches import CreateBatchRequest
from service.schemas.completions import CompletionRequest
from service.schemas.openai import ChatCompletionRequest
from service.schemas.responses import ResponsesRequest
from service.schemas.tasks import few_fields
from service.schemas.tokens import DetokenizeRequest, TokenizeRequest
from service.tasks.models import TaskModels
from tests.service.chat_requests import chat_body, cloud, image
from tests.service.tasks.task_requests import picture

REQUESTS: tuple[type[BaseModel], ...] = (
    ChatCompletionRequest, CompletionRequest, ResponsesRequest, TokenizeRequest,
    DetokenizeRequest, CreateBatchRequest,
    *(TaskModels.of(task).request for task in TASKS.values()),
)  # fmt: skip


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_of(field.annotation)
    for argument in get_args(annotation):
        yield from models_of(argument)


OPTIONAL = sorted(
    {
        (model, name)
        for request in REQUESTS
        for model in models_of(request)
        for name, field in model.model_fields.items()
        if not field.is_required()
    },
    key=str,
)


def test_null_is_the_default_of_every_optional_field() -> None:
    assert len(OPTIONAL) > 100
    for model, name in OPTIONAL:
        refused: set[Any] = set()
        try:
            value = {model.model_fields[name].alias or name: None}
            # A task's inputs are validated after their request has dropped the nulls.
            model.model_validate(few_fields(value) if issubclass(model, TaskModel) else value)
        except ValidationError as error:
            refused = {one["loc"][0] for one in error.errors() if one["loc"]}
        assert name not in refused, f"{model.__name__}.{name} refuses null"


@pytest.mark.asyncio(loop_scope="module")
async def test_nulls_in_a_chat_have_no_effect(client: httpx.AsyncClient) -> None:
    part = cloud(units=None, up_axis=None, columns=None, file_id=None)
    nulls: dict[str, Any] = dict.fromkeys(
        ("min_tokens", "ignore_eos", "priority", "stream", "seed", "tools", "logprobs", "user")
    )
    plain = (await client.post("/v1/chat/completions", json=chat_body(cloud()))).json()
    body = chat_body(part, **nulls, response_format={"type": "text", "json_schema": None})
    given = (await client.post("/v1/chat/completions", json=body)).json()
    assert given["choices"] == plain["choices"]
    assert given["usage"] == plain["usage"]


@pytest.mark.asyncio(loop_scope="module")
async def test_nulls_in_a_task_have_no_effect(client: httpx.AsyncClient) -> None:
    nulls = dict.fromkeys(("mode", "constrain", "overlay", "seed", "priority", "point_cloud_url"))
    body = {**picture(), **nulls, "inputs": {"size": None}}
    response = await client.post("/v1/tasks/caption", json=body)
    assert response.status_code == 200, response.text
    missing = await client.post("/v1/tasks/caption", json={**body, "image_url": None})
    assert missing.json()["error"]["message"] == "image_url is missing"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("value", ["u" * 300, 7, {"a": ["b"]}, None], ids=type)
async def test_fields_without_effect_take_any_value(
    client: httpx.AsyncClient, value: object
) -> None:
    part = image()
    part["image_url"]["detail"] = value
    body = chat_body(part, user=value)
    body["messages"][0]["name"] = value
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    task = await client.post("/v1/tasks/caption", json={**picture(), "user": value})
    assert task.status_code == 200, task.text


def test_fields_without_effect_are_not_kept() -> None:
    body = ChatCompletionRequest.model_validate({**chat_body(), "user": "u" * 300})
    assert body.user is None


def test_a_null_priority_in_a_batch_is_that_of_batches() -> None:
    request = {"method": "POST", "url": "/v1/completions", "custom_id": "1"}
    line = json.dumps({**request, "body": {"priority": None}}).encode()
    limits = BatchLimits(9, 999, 1, 1, 60.0, 60.0)
    (found,) = read_lines(io.BytesIO(line), "/v1/completions", limits)
    assert isinstance(found, InputLine)
    assert json.loads(found.body) == {"priority": PRIORITY}
