"""`create_app`: the app, with its engines and media pools in its lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service import errors
from service.config.settings import Settings
from service.dependencies import ServedEngine, Services
from service.endpoints import (
    batches,
    chat,
    completions,
    docs,
    files,
    likelihoods,
    models,
    probes,
    requests,
    responses,
    tasks,
    tokenize,
    ui,
)
from service.engine.base import Engine, EngineInfo
from service.guards import install_middleware, watch_keys
from service.http.root_path import RootPathMiddleware, check_root_path
from service.media.pool import MediaPool
from service.schemas.openai_answers import ErrorBody
from service.startup.assembly import build_services
from service.watchdog import Watchdog

if TYPE_CHECKING:
    from service.tracing import Tracing

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings, engine: Engine | None = None, tracing: Tracing | None = None
) -> FastAPI:
    """The ASGI app; its engines load in the background of its lifespan, while probes answer.

    Args:
        settings: everything an operator can set.
        engine: replaces the engines of the settings, for all models.
        tracing: replaces the tracing of the settings.

    Raises:
        CheckpointError: a checkpoint's files cannot be read, an adapter's base is missing, or a
            preset is unknown.
        EngineConfigError: the engine's sizes are inconsistent.
        ValueError, OSError: the API keys cannot be read, model names are invalid, or an extra that
            a setting needs is not installed.
    """
    tracing = tracing or _tracing(settings)
    services, pools = build_services(settings, engine, tracing)
    app = FastAPI(
        title="LAMM",
        summary="Chat about text, pictures and point clouds",
        version=probes.package_version(),
        lifespan=lambda app: _lifespan(app, settings, services, pools, tracing),
        # A redirect's target would contain the Host header, which anyone may write.
        redirect_slashes=False,
        # FastAPI's own pages load scripts from other hosts and need no key.
        openapi_url=None,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        responses={"4XX": {"model": ErrorBody}},
    )
    app.state.services = services
    for router in (
        chat.router, completions.router, responses.router, likelihoods.router, tokenize.router,
        requests.router, files.router, batches.router, models.router, probes.router, docs.router,
    ):  # fmt: skip
        app.include_router(router)
    app.include_router(tasks.create_router())
    # Last, so that API requests are not matched against the page's files.
    app.include_router(ui.create_router(settings.ui))
    if settings.root_path:
        check_root_path(settings.root_path, app.routes)
        app.include_router(ui.prefix_router(settings.root_path))
    errors.install(app)
    install_middleware(app, settings, services)
    if tracing is not None:
        app.add_middleware(tracing.middleware)
    if settings.root_path:
        app.add_middleware(RootPathMiddleware, root_path=settings.root_path)
    return app


@contextlib.asynccontextmanager
async def _lifespan(
    app: FastAPI,
    settings: Settings,
    services: Services,
    pools: Sequence[MediaPool],
    tracing: Tracing | None,
) -> AsyncIterator[None]:
    loading = asyncio.create_task(_load(app, services, pools))
    watching = asyncio.create_task(watch_keys(services.access.keys))
    guarding = asyncio.create_task(_watchdog(settings, services).run())
    try:
        yield
    finally:
        services.lifecycle.stop()
        loading.cancel()
        watching.cancel()
        guarding.cancel()
        await asyncio.gather(loading, watching, guarding, return_exceptions=True)
        await services.batches.stop()
        await services.stop_engines()
        await asyncio.gather(*(pool.stop() for pool in pools))
        await services.files.stop()
        await services.media_fetcher.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)


def _watchdog(settings: Settings, services: Services) -> Watchdog:
    engines = {served.label: served.engine for served in services.engines}
    return Watchdog(engines, services.lifecycle, settings.stall_timeout_s)


def _tracing(settings: Settings) -> Tracing | None:
    if not settings.otlp_traces_endpoint:
        return None
    try:
        # Imported here: OpenTelemetry is an extra and only imported if tracing is on.
        from service.tracing import otlp_tracing  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--otlp-traces-endpoint needs the extra `otel` ({error.name} is not installed): "
            "pip install 'lamm[otel]'"
        ) from error
    return otlp_tracing(settings.otlp_traces_endpoint, probes.package_version())


async def _load(app: FastAPI, services: Services, pools: Sequence[MediaPool]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_start_stores(app, services))
            for pool in pools:
                group.create_task(pool.start())
            infos = group.create_task(_start_engines(services.engines))
    except ExceptionGroup as errors_:
        first = errors_.exceptions[0]
        logger.debug("loading failed", exc_info=first)
        services.lifecycle.failed(first)
    else:
        services.lifecycle.loaded(*infos.result())


async def _start_stores(app: FastAPI, services: Services) -> None:
    await services.files.start()
    # Batch lines run through the app's own routes.
    await services.batches.start(app)


async def _start_engines(engines: Sequence[ServedEngine]) -> list[EngineInfo]:
    # One after another: each takes its share of the memory that it finds free.
    return [await served.engine.start() for served in engines]
