"""What handlers ask for in their signatures. The objects are made once by `app.create_app`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from lamm_model.spec import CheckpointSpec
from service.engine.base import Engine
from service.input_processor import InputProcessor
from service.lifecycle import Lifecycle
from service.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Identity of what is served."""

    name: str
    spec: CheckpointSpec
    max_model_len: int
    created: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: silence in a stream before a comment, no engine step before /health fails."""

    keepalive_s: float
    stall_s: float


@dataclass(frozen=True, slots=True)
class Services:
    """Everything of one app."""

    model: ServedModel
    engine: Engine
    processor: InputProcessor
    metrics: Metrics
    lifecycle: Lifecycle
    timeouts: Timeouts


def services(request: Request) -> Services:
    """The app's own services."""
    found = request.app.state.services
    if not isinstance(found, Services):
        raise TypeError("app.state.services is not set")
    return found


def _model(all_: Annotated[Services, Depends(services)]) -> ServedModel:
    return all_.model


def _engine(all_: Annotated[Services, Depends(services)]) -> Engine:
    return all_.engine


def _processor(all_: Annotated[Services, Depends(services)]) -> InputProcessor:
    return all_.processor


def _metrics(all_: Annotated[Services, Depends(services)]) -> Metrics:
    return all_.metrics


def _lifecycle(all_: Annotated[Services, Depends(services)]) -> Lifecycle:
    return all_.lifecycle


def _timeouts(all_: Annotated[Services, Depends(services)]) -> Timeouts:
    return all_.timeouts


ModelDep = Annotated[ServedModel, Depends(_model)]
EngineDep = Annotated[Engine, Depends(_engine)]
ProcessorDep = Annotated[InputProcessor, Depends(_processor)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
LifecycleDep = Annotated[Lifecycle, Depends(_lifecycle)]
TimeoutsDep = Annotated[Timeouts, Depends(_timeouts)]
