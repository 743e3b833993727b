"""`create_app`: settings become an app with one engine and one media pool in its lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI

from lamm_model.media import MediaLimits
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service import errors
from service.config import Settings
from service.dependencies import ServedModel, Services, Timeouts
from service.endpoints import chat, models, probes
from service.engine.base import Engine
from service.engine.config import EngineConfig
from service.engine.factory import create_engine
from service.input_processor import InputLimits, InputProcessor
from service.lifecycle import Lifecycle
from service.media_pool import MediaPool, MediaPoolConfig
from service.metrics import Metrics
from service.middleware import ApiKeyMiddleware, BodyLimitMiddleware, RequestContextMiddleware

logger = logging.getLogger(__name__)


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """The ASGI app; the engine loads in its lifespan, in the background, while probes answer.

    Args:
        settings: everything an operator can set.
        engine: takes the place of the one that the settings name.

    Raises:
        CheckpointError: the checkpoint's files cannot be read.
        EngineConfigError: the engine's sizes make no sense.
        ValueError, OSError: the API keys cannot be read.
    """
    keys = settings.read_api_keys()
    services, pool = _services(settings, engine)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(services, pool))
        try:
            yield
        finally:
            services.lifecycle.stop()
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await services.engine.stop()
            await pool.stop()

    app = FastAPI(
        title="LAMM",
        summary="Chat about text, pictures and point clouds",
        version=probes.package_version(),
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.unknown_fields = set()
    for router in (chat.router, models.router, probes.router):
        app.include_router(router)
    errors.install(app)
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes)
    app.add_middleware(ApiKeyMiddleware, keys=keys, open_paths=probes.OPEN_PATHS)
    app.add_middleware(RequestContextMiddleware)
    return app


def _services(settings: Settings, engine: Engine | None) -> tuple[Services, MediaPool]:
    """What handlers need, and the decode workers behind the input processor."""
    spec = CheckpointSpec.from_pretrained(settings.checkpoint)
    tokenizer = LammTokenizer.from_pretrained(settings.checkpoint)
    if engine is None:
        engine = create_engine(settings.engine, settings.checkpoint, engine_config(settings))
    pool = MediaPool(_pool_config(settings, spec))
    model = _served_model(settings, spec)
    metrics = Metrics(model.name, engine.stats)
    limits = InputLimits(
        model.max_model_len,
        settings.default_max_tokens,
        settings.max_media_items,
        settings.max_media_bytes,
    )
    services = Services(
        model=model,
        engine=engine,
        processor=InputProcessor(spec, tokenizer, model.name, limits, pool, metrics),
        metrics=metrics,
        lifecycle=Lifecycle(),
        timeouts=Timeouts(settings.keepalive_s, settings.stall_timeout_s),
    )
    return services, pool


def engine_config(settings: Settings) -> EngineConfig:
    """The engine's part of the settings: the fields of the same names."""
    names = EngineConfig.__dataclass_fields__
    return EngineConfig(**{name: getattr(settings, name) for name in names})


async def _load(services: Services, pool: MediaPool) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(pool.start())
            engine = group.create_task(services.engine.start())
    except ExceptionGroup as errors_:
        first = errors_.exceptions[0]
        logger.debug("loading failed", exc_info=first)
        services.lifecycle.failed(first)
    else:
        services.lifecycle.loaded(engine.result())


def _served_model(settings: Settings, spec: CheckpointSpec) -> ServedModel:
    identity = f"{spec.digest}|{spec.prompt_preset}|{sorted(spec.system_prompts.items())}"
    return ServedModel(
        name=settings.model_name,
        spec=spec,
        max_model_len=min(spec.max_model_len, settings.max_model_len or spec.max_model_len),
        created=int(time.time()),
        fingerprint=f"fp_{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
    )


def _pool_config(settings: Settings, spec: CheckpointSpec) -> MediaPoolConfig:
    return MediaPoolConfig(
        workers=settings.media_workers,
        timeout_s=settings.media_timeout_s,
        memory_bytes=settings.media_memory_bytes,
        cache_bytes=settings.media_cache_bytes,
        limits=MediaLimits(settings.max_pixels, settings.max_points, settings.max_media_bytes),
        image=spec.image,
        points=spec.points,
    )
