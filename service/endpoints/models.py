"""`GET /v1/models` and `GET /v1/models/{model}`: what is served and what it takes."""

from __future__ import annotations

from fastapi import APIRouter

from service.dependencies import ModelDep, ServedModel
from service.exceptions import ModelNotFoundError
from service.schemas.openai import Architecture, ErrorBody, ModelCard, ModelList

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def list_models(model: ModelDep) -> ModelList:
    """The one model of this server."""
    return ModelList(data=[_card(model)])


@router.get("/{name:path}", responses={404: {"model": ErrorBody}})
async def retrieve_model(name: str, model: ModelDep) -> ModelCard:
    """The model of that name."""
    if name != model.name:
        raise ModelNotFoundError(name, model.name)
    return _card(model)


def _card(model: ServedModel) -> ModelCard:
    return ModelCard(
        id=model.name,
        created=model.created,
        max_model_len=model.max_model_len,
        architecture=Architecture(
            input_modalities=["text", *model.spec.modalities], output_modalities=["text"]
        ),
        digest=model.spec.digest,
        provenance=dict(model.spec.provenance),
    )
