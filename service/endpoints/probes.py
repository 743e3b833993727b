"""Probes, metrics and version: answered from memory, independent of inference."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from service.dependencies import EnginesDep, LifecycleDep, MetricsDep, ModelsDep, TimeoutsDep
from service.keys.auth import METRICS, OPEN, USER
from service.lifecycle import Phase
from service.plan.prompt import prompt_identity

router = APIRouter(tags=["operations"])


@router.get("/livez", dependencies=[OPEN])
async def livez() -> dict[str, str]:
    """Answers 200 while the process runs."""
    return {"status": "alive"}


@router.get("/readyz", dependencies=[OPEN])
async def readyz(lifecycle: LifecycleDep, engines: EnginesDep) -> JSONResponse:
    """Answers 200 if requests are accepted; 503 while loading, draining, or if an engine is
    dead.
    """
    accepts = lifecycle.phase is Phase.READY
    models = {
        name: accepts and alive
        for alive, names in ((served.engine.stats().alive, served.models) for served in engines)
        for name in names
    }
    ready = all(models.values())
    body = {"ready": ready, "phase": lifecycle.phase, "models": models}
    return JSONResponse(body, 200 if ready else 503)


@router.get("/health", dependencies=[OPEN])
async def health(
    lifecycle: LifecycleDep, engines: EnginesDep, timeouts: TimeoutsDep
) -> JSONResponse:
    """Answers 200 if every engine makes progress; an idle engine is healthy."""
    all_stats = [served.engine.stats() for served in engines]
    stalled = any(stats.stalled(timeouts.stall_s) for stats in all_stats)
    alive = all(stats.alive for stats in all_stats)
    failed = lifecycle.phase is Phase.FAILED or (lifecycle.phase is Phase.READY and not alive)
    body: dict[str, Any] = {
        "status": "stalled" if stalled else "failed" if failed else "healthy",
        "phase": lifecycle.phase,
        "running": sum(stats.running for stats in all_stats),
        "waiting": sum(stats.waiting for stats in all_stats),
        "last_step_age_s": round(max(stats.last_step_age for stats in all_stats), 3),
    }
    return JSONResponse(body, 503 if stalled or failed else 200)


@router.get("/metrics", response_class=Response, dependencies=[METRICS])
async def metrics(metrics: MetricsDep) -> Response:
    """Prometheus metrics."""
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/version", dependencies=[USER])
async def read_version(models: ModelsDep) -> dict[str, Any]:
    """Version of the service, and each model's fingerprint and prompt preset.

    The first model's fingerprint is repeated at the top level.
    """
    fingerprints = {model.name: model.fingerprint for model in models}
    name, fingerprint = next(iter(fingerprints.items()))
    return {
        "version": package_version(),
        "model": name,
        "fingerprint": fingerprint,
        "models": fingerprints,
        "prompt_presets": {model.name: asdict(prompt_identity(model.spec)) for model in models},
    }


def package_version() -> str:
    """Version of the installed distribution, "unknown" in a source tree."""
    try:
        return version("lamm")
    except PackageNotFoundError:
        return "unknown"
