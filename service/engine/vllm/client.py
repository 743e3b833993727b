"""HTTP calls to a vLLM server. Torch-free.

Everything that goes wrong becomes an `EngineError`: the server is unreachable or dead, or it
refuses the request. vLLM's own messages are logged, never passed on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from service.engine.base import EngineStoppedError, RequestFailedError
from service.engine.vllm.wire import GENERATE

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 5.0
_SHOWN = 500
_METRIC = re.compile(r"^vllm:(\w+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


class VllmRefusal(RequestFailedError):
    """vLLM answered with an error; `status` and `reason` are its own."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"vLLM refused the request with status {status}")
        self.status, self.reason = status, reason


class VllmClient:
    """Connections to one server, by address or by Unix domain socket."""

    def __init__(self, url: str, api_key: str | None = None, socket: Path | None = None) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        transport = httpx.AsyncHTTPTransport(
            uds=None if socket is None else str(socket), limits=limits, trust_env=False
        )
        # Answers take as long as they take; a server that hangs is found by `is_healthy`.
        timeout = httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S)
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, transport=transport, timeout=timeout, trust_env=False
        )
        self.url = url

    async def close(self) -> None:
        """Closes all connections, which aborts what runs on them."""
        await self._http.aclose()

    async def is_healthy(self) -> bool:
        """Whether the server answers, and its engine lives."""
        try:
            return await self.unreadiness() is None
        except VllmRefusal:
            return False

    async def unreadiness(self) -> str | None:
        """Why requests cannot be sent yet; None if they can.

        Raises:
            VllmRefusal: the server refuses the probe, so it is not vLLM, and waiting is no use.
        """
        try:
            answer = await self._http.get("/health", timeout=_PROBE_TIMEOUT_S)
        except httpx.TimeoutException:
            return f"no answer within {_PROBE_TIMEOUT_S:g} s"
        except httpx.HTTPError as error:
            return f"no connection ({str(error) or type(error).__name__})"
        if answer.is_client_error:
            raise VllmRefusal(answer.status_code, _reason(answer))
        return None if answer.is_success else f"status {answer.status_code}"

    async def get(self, path: str) -> Any:
        """The JSON of a GET.

        Raises:
            EngineStoppedError: the server cannot be reached.
            VllmRefusal: it answers with an error.
        """
        with _connection_errors():
            answer = await self._http.get(path, timeout=_PROBE_TIMEOUT_S)
            _check(answer)
            return answer.json()

    async def metrics_text(self) -> str:
        """vLLM's Prometheus metrics; raises as `get`."""
        with _connection_errors():
            answer = await self._http.get("/metrics", timeout=_PROBE_TIMEOUT_S)
            _check(answer)
            return answer.text

    async def metrics(self) -> Mapping[str, float]:
        """Sums over all labels of vLLM's metrics, by name without `vllm:`; raises as `get`."""
        sums: dict[str, float] = {}
        for name, value in _METRIC.findall(await self.metrics_text()):
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    async def generate(self, body: Mapping[str, Any]) -> Any:
        """The answer to a request that does not stream; raises as `get`."""
        with _connection_errors():
            answer = await self._http.post(GENERATE, json=body)
            _check(answer)
            return answer.json()

    @contextlib.asynccontextmanager
    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a stream; leaving the context early aborts the request. Raises as `get`."""
        with _connection_errors():
            async with self._http.stream("POST", GENERATE, json=body) as answer:
                if answer.status_code != httpx.codes.OK:
                    await answer.aread()
                    _check(answer)
                yield answer.aiter_lines()


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, json.JSONDecodeError) as error:
        _log.warning("the connection to vLLM failed: %r", error)
        raise EngineStoppedError("the vLLM server cannot be reached") from error


def _check(answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.OK:
        return
    reason = _reason(answer)
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        _log.error("vLLM answered %d: %s", answer.status_code, reason[:_SHOWN])
        raise EngineStoppedError(f"the vLLM server answered with status {answer.status_code}")
    raise VllmRefusal(answer.status_code, reason)


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
        return str(body.get("error", {}).get("message") or body.get("detail") or body)
    except (ValueError, AttributeError):
        return answer.text
