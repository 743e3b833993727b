"""HTTP clients: httpx, with whole requests over aiohttp where it is installed.

httpx searches its connection pool in Python for every request, which at 64 requests in flight costs
several times as much as the rest of a request (see `benchmark.client_cost`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from typing_extensions import override

from benchmark.http.client import server_root

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10.0
# Idle connections are closed before servers close them (uvicorn after 5 s): a request sent at that
# moment would be lost.
_IDLE_SECONDS = 2.0


def open_http(url: str, timeout: float, api_key: str | None = None) -> httpx.AsyncClient:
    """A client of the server at `url` for whole requests; the caller closes it.

    Args:
        url: the server's address, with or without `/v1`.
        timeout: longest time without a byte, in seconds.
        api_key: sent as a bearer token.
    """
    try:
        import aiohttp  # noqa: F401, PLC0415 - of the `bench` extra
    except ModuleNotFoundError:
        return open_stream_http(url, timeout, api_key)
    return LeanClient(**_settings(url, timeout, api_key))


def open_stream_http(url: str, timeout: float, api_key: str | None = None) -> httpx.AsyncClient:
    """A client of the server at `url` for timed streams, with httpx alone. See `open_http`."""
    return httpx.AsyncClient(**_settings(url, timeout, api_key))


def _settings(url: str, timeout: float, api_key: str | None) -> dict[str, Any]:
    return {
        "base_url": server_root(url),
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
        # The caller bounds the requests in flight; a second bound would hide queueing.
        "limits": httpx.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_SECONDS
        ),
        "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS),
        # Loading certificates takes 0.1 s; redirects are not followed, so http needs none.
        "verify": url.lower().startswith("https:"),
        "trust_env": False,
    }


class LeanClient(httpx.AsyncClient):
    """`request` over aiohttp, with the responses and errors of httpx; streams use httpx."""

    _session: aiohttp.ClientSession | None = None

    @override
    async def request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Response:
        """A whole answer to `content` with `headers`; requests with other options use httpx.

        Raises:
            httpx.TransportError: no connection, timeout, or not HTTP.
            httpx.DecodingError: the body does not match its `Content-Encoding`.
        """
        if not options.keys() <= {"content", "headers"}:
            return await super().request(method, url, **options)
        import aiohttp  # noqa: PLC0415 - see `open_http`

        session = self._session or self._open()
        try:
            async with session.request(
                method,
                str(url),
                data=options.get("content"),
                headers=options.get("headers"),
                allow_redirects=False,
            ) as response:
                content = await response.read()
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error)) from None
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError(str(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(str(error)) from None
        return httpx.Response(response.status, headers=response.raw_headers, content=content)

    @override
    async def aclose(self) -> None:
        """Closes the connections of both libraries."""
        if self._session is not None:
            await self._session.close()
        await super().aclose()

    @override
    async def __aexit__(self, *error: Any) -> None:
        if self._session is not None:
            await self._session.close()
        await super().__aexit__(*error)

    def _open(self) -> aiohttp.ClientSession:
        """Called in the first request, because a session belongs to its event loop."""
        import aiohttp  # noqa: PLC0415 - see `open_http`

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers=self.headers.items(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self.timeout.connect, sock_read=self.timeout.read
            ),
            auto_decompress=False,  # httpx's responses do
        )
        return self._session
