"""What handlers ask for in their signatures. The objects are made once by `app.create_app`.

All of it is `async` though nothing is awaited: the framework hands each plain function to a pool of
threads, and a probe would wait there, and for the interpreter's lock, once for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from lamm_model.spec import CheckpointSpec
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
    """One model by its name: its identity, and what answers for it."""

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

    def check_characters(self, text: str, param: str) -> None:
        """Refuses a text that no tokenizer could fit, before anything looks at it.

        Raises:
            ContextLengthError: it is longer than the context's tokens could spell.
        """
        if len(text) > self.max_model_len * self.tokenizer.longest_piece:
            raise ContextLengthError(
                f"{param} has {len(text)} characters, more than "
                f"the context of {self.max_model_len} tokens can hold",
                param=param,
            )


class ServedModels:
    """All models of one app, in the operator's order."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """`models` has at least one, and no name twice."""
        self._by_name = {model.name: model for model in models}

    def get(self, name: str) -> ServedModel:
        """The model of that name.

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
    """An engine, and the names of the models that it holds."""

    engine: Engine
    models: tuple[str, ...]

    @property
    def label(self) -> str:
        """The models' names in one word, for metrics and messages."""
        return ",".join(self.models)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: silence in a stream before a comment, no engine step before /health fails, and how
    long a request may wait for its first token, None for as long as it takes.
    """

    keepalive_s: float
    stall_s: float
    queue_s: float | None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything of one app; `metrics` are its own, each model has a view of them."""

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
        """Aborts all that runs in any engine; idempotent."""
        await asyncio.gather(*(served.engine.stop() for served in self.engines))


async def services(request: Request) -> Services:
    """The app's own services."""
    found = request.app.state.services
    if not isinstance(found, Services):
        raise TypeError("app.state.services is not set")
    return found


async def _models(all_: Annotated[Services, Depends(services)]) -> ServedModels:
    return all_.models


async def _engines(all_: Annotated[Services, Depends(services)]) -> tuple[ServedEngine, ...]:
    return all_.engines


async def _metrics(all_: Annotated[Services, Depends(services)]) -> Metrics:
    return all_.metrics


async def _lifecycle(all_: Annotated[Services, Depends(services)]) -> Lifecycle:
    return all_.lifecycle


async def _timeouts(request: Request, all_: Annotated[Services, Depends(services)]) -> Timeouts:
    caller: Caller = request.scope[CALLER]
    return replace(all_.timeouts, queue_s=None) if caller.patient else all_.timeouts


async def _access(all_: Annotated[Services, Depends(services)]) -> AccessControl:
    return all_.access


async def _unknown_fields(all_: Annotated[Services, Depends(services)]) -> UnknownFields:
    return all_.unknown_fields


async def _caller(request: Request) -> Caller:
    found: Caller = request.scope[CALLER]
    return found


async def _files(all_: Annotated[Services, Depends(services)]) -> FileStore:
    return all_.files


async def _batches(all_: Annotated[Services, Depends(services)]) -> Batches:
    return all_.batches


def owner_of(request: Request) -> str:
    """Whose files: the key's digest in hexadecimal, "" for all where no keys are asked for."""
    caller: Caller = request.scope[CALLER]
    return "" if caller.owner is None else caller.owner.hex()


async def _owner(request: Request) -> str:
    return owner_of(request)


ModelsDep = Annotated[ServedModels, Depends(_models)]
EnginesDep = Annotated[tuple[ServedEngine, ...], Depends(_engines)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
LifecycleDep = Annotated[Lifecycle, Depends(_lifecycle)]
TimeoutsDep = Annotated[Timeouts, Depends(_timeouts)]
UnknownFieldsDep = Annotated[UnknownFields, Depends(_unknown_fields)]
AccessDep = Annotated[AccessControl, Depends(_access)]
CallerDep = Annotated[Caller, Depends(_caller)]
BatchesDep = Annotated[Batches, Depends(_batches)]
FilesDep = Annotated[FileStore, Depends(_files)]
OwnerDep = Annotated[str, Depends(_owner)]
