"""`create_app`: settings become an app with its engines and media pools in its lifespan.

As a rule there is one of each: models over one language model share an engine, and models that
prepare media alike share a pool of decoding processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI

from lamm_model.media import MediaLimits
from lamm_model.spec import CheckpointSpec, ImageSpec, PointSpec
from lamm_model.tokenizer import LammTokenizer
from service import errors
from service.checkpoint_flags import Presets, read_checkpoint_flags
from service.config import Settings
from service.dependencies import ServedEngine, ServedModel, ServedModels, Services, Timeouts
from service.endpoints import chat, models, probes
from service.engine.base import Engine, EngineInfo
from service.engine.config import EngineConfig, MemoryShare
from service.engine.factory import create_engine
from service.engine.model_source import ModelSource
from service.input_processor import InputLimits, InputProcessor
from service.lifecycle import Lifecycle
from service.media_pool import MediaPool, MediaPoolConfig
from service.metrics import Metrics
from service.middleware import ApiKeyMiddleware, BodyLimitMiddleware, RequestContextMiddleware
from service.model_groups import group_models

logger = logging.getLogger(__name__)


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """The ASGI app; the engines load in its lifespan, in the background, while probes answer.

    Args:
        settings: everything an operator can set.
        engine: takes the place of those that the settings name, for all models.

    Raises:
        CheckpointError: a checkpoint's files cannot be read, an adapter's base is missing, or a
            preset is unknown.
        EngineConfigError: the engine's sizes make no sense.
        ValueError, OSError: the API keys cannot be read, or models' names are wrong.
    """
    keys = settings.read_api_keys()
    services, pools = _services(settings, engine)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(services, pools))
        try:
            yield
        finally:
            services.lifecycle.stop()
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await services.stop_engines()
            await asyncio.gather(*(pool.stop() for pool in pools))

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
    app.add_middleware(
        BodyLimitMiddleware,
        max_bytes=settings.max_body_bytes,
        max_total_bytes=settings.max_buffered_bytes,
        silence_s=settings.body_timeout_s,
        refused=services.metrics.rejected,
    )
    app.add_middleware(ApiKeyMiddleware, keys=keys, open_paths=probes.OPEN_PATHS)
    app.add_middleware(RequestContextMiddleware)
    return app


def engine_config(settings: Settings, num_engines: int = 1) -> EngineConfig:
    """An engine's part of the settings: the fields of the same names.

    Memory that is given in bytes is for all engines together.
    """
    values = {name: getattr(settings, name) for name in EngineConfig.__dataclass_fields__}
    if settings.kv_cache_bytes is not None:
        values["kv_cache_bytes"] = settings.kv_cache_bytes // num_engines
    values["mm_cache_bytes"] = settings.mm_cache_bytes // num_engines
    return EngineConfig(**values)


def _services(settings: Settings, engine: Engine | None) -> tuple[Services, tuple[MediaPool, ...]]:
    """What handlers need, and the decode workers behind the input processors."""
    presets = Presets(settings.prompt_preset, settings.image_preset, settings.prompt_pack)
    sources = read_checkpoint_flags(settings.checkpoint, settings.served_model_name, presets)
    if engine is None:
        engines = _engines(settings, sources)
    else:
        engines = (ServedEngine(engine, tuple(source.name for source in sources)),)
    metrics = Metrics(sources[0].name, {served.label: served.engine.stats for served in engines})
    pools: list[MediaPool] = []
    pool_of: dict[str, MediaPool] = {}
    for (image, points), names in _preparations(sources).items():
        pools.append(MediaPool(_pool_config(settings, image, points)))
        pool_of.update(dict.fromkeys(names, pools[-1]))
    engine_of = {name: served.engine for served in engines for name in served.models}
    services = Services(
        models=ServedModels(
            [
                _served_model(
                    settings, source, engine_of[source.name], pool_of[source.name], metrics
                )
                for source in sources
            ]
        ),
        engines=engines,
        metrics=metrics,
        lifecycle=Lifecycle(),
        timeouts=Timeouts(settings.keepalive_s, settings.stall_timeout_s),
    )
    return services, tuple(pools)


def _engines(settings: Settings, sources: Sequence[ModelSource]) -> tuple[ServedEngine, ...]:
    """One engine a language model."""
    groups = group_models(sources)
    config = engine_config(settings, len(groups))
    engines: list[ServedEngine] = []
    for number, group in enumerate(groups, 1):
        later = {source.base: None for rest in groups[number:] for source in rest}
        memory = MemoryShare(len(groups), tuple(later))
        engine = create_engine(settings.engine, group, config, memory)
        engines.append(ServedEngine(engine, tuple(source.name for source in group)))
    return tuple(engines)


async def _load(services: Services, pools: Sequence[MediaPool]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for pool in pools:
                group.create_task(pool.start())
            infos = group.create_task(_start_engines(services.engines))
    except ExceptionGroup as errors_:
        first = errors_.exceptions[0]
        logger.debug("loading failed", exc_info=first)
        services.lifecycle.failed(first)
    else:
        services.lifecycle.loaded(*infos.result())


async def _start_engines(engines: Sequence[ServedEngine]) -> list[EngineInfo]:
    # One after another: each takes its share of the memory that it finds free.
    return [await served.engine.start() for served in engines]


def _served_model(
    settings: Settings, source: ModelSource, engine: Engine, pool: MediaPool, metrics: Metrics
) -> ServedModel:
    spec = source.spec
    prompts = f"{spec.prompt_preset}|{sorted(spec.system_prompts.items())}"
    identity = f"{spec.digest}|{prompts}|{spec.image.preset if spec.image else None}"
    max_model_len = min(spec.max_model_len, settings.max_model_len or spec.max_model_len)
    limits = InputLimits(
        max_model_len,
        settings.default_max_tokens,
        settings.max_media_items,
        settings.max_media_bytes,
    )
    own_metrics = metrics.of_model(source.name)
    tokenizer = LammTokenizer.from_pretrained(source.base)
    return ServedModel(
        name=source.name,
        spec=spec,
        max_model_len=max_model_len,
        created=int(time.time()),
        fingerprint=f"fp_{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
        engine=engine,
        processor=InputProcessor(spec, tokenizer, source.name, limits, pool, own_metrics),
        metrics=own_metrics,
    )


def _preparations(
    sources: Sequence[ModelSource],
) -> dict[tuple[ImageSpec | None, PointSpec | None], list[str]]:
    """How media are prepared -> for which models; models that do not contradict share one way."""
    ways: list[tuple[ImageSpec | None, PointSpec | None, list[str]]] = []
    for source in sources:
        spec: CheckpointSpec = source.spec
        for number, (image, points, names) in enumerate(ways):
            if (spec.image in (None, image) or image is None) and (
                spec.points in (None, points) or points is None
            ):
                both = (image or spec.image, points or spec.points)
                ways[number] = (*both, [*names, source.name])
                break
        else:
            ways.append((spec.image, spec.points, [source.name]))
    return {(image, points): names for image, points, names in ways}


def _pool_config(
    settings: Settings, image: ImageSpec | None, points: PointSpec | None
) -> MediaPoolConfig:
    return MediaPoolConfig(
        workers=settings.media_workers,
        timeout_s=settings.media_timeout_s,
        memory_bytes=settings.media_memory_bytes,
        cache_bytes=settings.media_cache_bytes,
        limits=MediaLimits(settings.max_pixels, settings.max_points, settings.max_media_bytes),
        image=image,
        points=points,
        max_requests=settings.max_media_requests,
        queue_timeout_s=settings.media_queue_timeout_s,
    )
