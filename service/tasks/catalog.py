"""The cards of `GET /v1/tasks`: each task with its schemas and an example request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamm_model.conversation import Modality
from lamm_model.tasks import TASKS, AnyTask
from service.schemas.tasks import TaskCard
from service.tasks.models import TaskModels

# A picture of one grey pixel and a cloud of four points, the smallest valid media.
_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCB"
    "d81ytgAAAABJRU5ErkJggg=="
)
_CLOUD = "data:text/plain;base64,MCAwIDAKMSAwIDAKMCAxIDAKMCAwIDEK"


def cards(models_of: Mapping[Modality, Sequence[str]]) -> list[TaskCard]:
    """One card per task that a model supports; `models_of` are the models' names by modality."""
    return [
        _card(task, list(models_of[task.modality]))
        for task in TASKS.values()
        if models_of.get(task.modality)
    ]


def _card(task: AnyTask, models: list[str]) -> TaskCard:
    made = TaskModels.of(task)
    return TaskCard(
        id=task.name,
        name=task.name,
        modality=task.modality,
        description=task.description,
        path=f"/v1/tasks/{task.name}",
        medium=made.request.medium,
        models=models,
        modes=list(made.modes),
        constrain=made.constrain,
        overlays=list(made.overlays),
        max_tokens=task.max_tokens,
        inputs_schema=made.inputs.model_json_schema(),
        answer_schema=made.answer.model_json_schema(),
        example=_example(task, made, models[0]),
    )


def _example(task: AnyTask, made: TaskModels, model: str) -> dict[str, Any]:
    """A complete request body."""
    picture = task.modality is Modality.IMAGE
    medium = {"url": _PICTURE} if picture else {"url": _CLOUD, "format": "xyz"}
    return {"model": model, made.request.medium: medium, "inputs": dict(task.example)}
