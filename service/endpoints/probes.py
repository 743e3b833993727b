"""Probes, metrics and version: answered from memory, never behind inference."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from service.dependencies import EngineDep, LifecycleDep, MetricsDep, ModelDep, TimeoutsDep
from service.lifecycle import Phase

router = APIRouter(tags=["operations"])

OPEN_PATHS = frozenset({"/livez", "/readyz", "/health", "/metrics"})


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(lifecycle: LifecycleDep, engine: EngineDep) -> JSONResponse:
    """Requests are accepted: 200, or 503 while loading, draining or dead."""
    ready = lifecycle.phase is Phase.READY and engine.stats().alive
    return JSONResponse({"ready": ready, "phase": lifecycle.phase}, 200 if ready else 503)


@router.get("/health")
async def health(lifecycle: LifecycleDep, engine: EngineDep, timeouts: TimeoutsDep) -> JSONResponse:
    """The process answers and the engine makes progress; an idle engine is healthy."""
    stats = engine.stats()
    working = stats.running + stats.waiting > 0
    stalled = working and stats.last_step_age > timeouts.stall_s
    failed = lifecycle.phase is Phase.FAILED or (lifecycle.phase is Phase.READY and not stats.alive)
    body: dict[str, Any] = {
        "status": "stalled" if stalled else "failed" if failed else "healthy",
        "phase": lifecycle.phase,
        "running": stats.running,
        "waiting": stats.waiting,
        "last_step_age_s": round(stats.last_step_age, 3),
    }
    return JSONResponse(body, 503 if stalled or failed else 200)


@router.get("/metrics", response_class=Response)
async def metrics(metrics: MetricsDep) -> Response:
    """Prometheus metrics."""
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/version")
async def read_version(model: ModelDep) -> dict[str, str]:
    """Version of the service and fingerprint of the weights."""
    return {"version": package_version(), "model": model.name, "fingerprint": model.fingerprint}


@router.get("/", include_in_schema=False)
async def index() -> RedirectResponse:
    """The documentation."""
    return RedirectResponse("/docs")


def package_version() -> str:
    """Version of the installed distribution, or "unknown" from a bare source tree."""
    try:
        return version("lamm")
    except PackageNotFoundError:
        return "unknown"
