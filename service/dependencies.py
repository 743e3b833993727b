"""FastAPI dependencies: what handlers declare in their signatures.

All are `async` although they await nothing: FastAPI runs plain functions in a thread pool, where a
probe would wait for a thread and for the GIL once per dependency.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Request

from lamm_model.spec import CheckpointSpec
from lamm_model.tasks.calibration import Calibration
from lamm_model.tokenizer import LammTokenizer
from service.batches.service import Batches
from service.engine.base import Engine
from service.exceptions import ContextLengthError, ModelNotFoundError
from service.files.store import FileStore
from service.keys.auth import CALLER, AccessControl, Caller
from service.lifecycle import Lifecycle
from service.media.fetch import MediaFetcher
from service.metrics import Metrics
from service.plan.input_processor import InputProcessor
from service.plan.sampling import SequenceLimits
from service.schemas.unknown_fields import UnknownFields


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One served model: its identity, limits, engine and input processor.

    `calibration` is that of its task scores, None without a file beside the weights.
    """

    name: str
    spec: CheckpointSpec
    max_model_len: int
    default_max_tokens: int
    sequences: SequenceLimits
    created: int
    fingerprint: str
    engine: Engine
    tokenizer: LammTokenizer
    processor: InputProcessor
    metrics: Metrics
    calibration: Calibration | None = None

    def check_characters(self, text: str, param: str) -> None:
        """Refuses a text that cannot fit the context, before it is tokenized.

        Raises:
            ContextLengthError: it is longer than the context's tokens can spell.
        """
        if len(text) > self.max_model_len * self.tokenizer.longest_piece:
            raise ContextLengthError(
                f"{param} has {len(text)} characters, more than the context of "
                f"{self.max_model_len} tokens can hold",
                param=param,
            )


class ServedModels:
    """All models of one app, in the operator's order."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """`models` is not empty, and names are unique."""
        self._by_name = {model.name: model for model in models}

    def get(self, name: str) -> ServedModel:
        """The model with that name.

        Raises:
            ModelNotFoundError: there is none.
        """
        if name not in self._by_name:
            raise ModelNotFoundError(name, *self._by_name)
        return self._by_name[name]

    def __iter__(self) -> Iterator[ServedModel]:
        """Each model."""
        return iter(self._by_name.values())


@dataclass(frozen=True, slots=True)
class ServedEngine:
    """An engine, and the names of its models."""

    engine: Engine
    models: tuple[str, ...]

    @property
    def label(self) -> str:
        """The models' names in one string, for metrics and messages."""
        return ",".join(self.models)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: silence before a stream's keep-alive comment, time without an engine step before
    /health fails, and time to the first token (None: no limit).
    """

    keepalive_s: float
    stall_s: float
    queue_s: float | None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that one app holds; each model has its own view of `metrics`."""

    models: ServedModels
    engines: tuple[ServedEngine, ...]
    metrics: Metrics
    lifecycle: Lifecycle
    timeouts: Timeouts
    access: AccessControl
    unknown_fields: UnknownFields
    files: FileStore
    media_fetcher: MediaFetcher
    batches: Batches

    async def stop_engines(self) -> None:
        """Aborts all requests in all engines; idempotent."""
        await asyncio.gather(*(served.engine.stop() for served in self.engines))


async def services(request: Request) -> Services:
    """The app's own services."""
    found = request.app.state.services
    if not isinstance(found, Services):
        raise TypeError("app.state.services is not set")
    return found


def _part(name: str) -> Any:
    """The dependency on one field of `Services`."""

    async def part(all_: Annotated[Services, Depends(services)]) -> Any:
        return getattr(all_, name)

    return Depends(part)


async def _timeouts(request: Request, all_: Annotated[Services, Depends(services)]) -> Timeouts:
    caller: Caller = request.scope[CALLER]
    return replace(all_.timeouts, queue_s=None) if caller.patient else all_.timeouts


async def _caller(request: Request) -> Caller:
    found: Caller = request.scope[CALLER]
    return found


def owner_of(request: Request) -> str:
    """The owner of files: the key's hexadecimal digest, "" if no keys are required."""
    caller: Caller = request.scope[CALLER]
    return "" if caller.owner is None else caller.owner.hex()


async def _owner(request: Request) -> str:
    return owner_of(request)


ModelsDep = Annotated[ServedModels, _part("models")]
EnginesDep = Annotated[tuple[ServedEngine, ...], _part("engines")]
MetricsDep = Annotated[Metrics, _part("metrics")]
LifecycleDep = Annotated[Lifecycle, _part("lifecycle")]
TimeoutsDep = Annotated[Timeouts, Depends(_timeouts)]
UnknownFieldsDep = Annotated[UnknownFields, _part("unknown_fields")]
AccessDep = Annotated[AccessControl, _part("access")]
CallerDep = Annotated[Caller, Depends(_caller)]
BatchesDep = Annotated[Batches, _part("batches")]
FilesDep = Annotated[FileStore, _part("files")]
OwnerDep = Annotated[str, Depends(_owner)]
