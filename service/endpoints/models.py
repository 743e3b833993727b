"""`GET /v1/models` and `GET /v1/models/{model}`: the served models and what they accept."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from service.dependencies import ModelsDep, ServedModel
from service.keys.auth import USER
from service.plan.prompt import prompt_identity
from service.schemas.openai_answers import (
    Architecture,
    ErrorBody,
    ModelCard,
    ModelList,
    PromptPresetCard,
)

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[USER])


@router.get("")
async def list_models(models: ModelsDep) -> ModelList:
    """Lists the served models."""
    return ModelList(data=[_card(model) for model in models])


@router.get("/{name:path}", responses={404: {"model": ErrorBody}})
async def retrieve_model(name: str, models: ModelsDep) -> ModelCard:
    """Returns a model by its name."""
    return _card(models.get(name))


def _card(model: ServedModel) -> ModelCard:
    return ModelCard(
        id=model.name,
        created=model.created,
        max_model_len=model.max_model_len,
        architecture=Architecture(
            input_modalities=["text", *model.spec.modalities], output_modalities=["text"]
        ),
        digest=model.spec.digest,
        prompt_preset=PromptPresetCard(**asdict(prompt_identity(model.spec))),
        image_preset=None if model.spec.image is None else model.spec.image.preset,
        provenance=dict(model.spec.provenance),
    )
