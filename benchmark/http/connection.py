"""The HTTP connection of a quality run: an httpx client whose whole requests go over aiohttp.

httpx's own connections are written in Python and looked through for every request, which at 64 in
flight costs several times what the rest of a request does (`benchmark.client_cost` measures it).
aiohttp comes with the `bench` extra; without it httpx does everything. Called by `quality_command`
and `client_cost`.
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
        timeout: seconds without a byte after which a request is given up.
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
        # Certificates take a tenth of a second to load, and no redirect is followed.
        "verify": url.lower().startswith("https:"),
        "trust_env": False,
    }


class LeanClient(httpx.AsyncClient):
    """`request` over aiohttp, with httpx's responses and errors; streams are httpx's own."""

    _session: aiohttp.ClientSession | None = None

    @override
    async def request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Response:
        """A whole answer to `content` with `headers`; other options are httpx's alone.

        Raises:
            httpx.TransportError: no connection, no byte in time, or no HTTP.
            httpx.DecodingError: the body is not what its `Content-Encoding` says.
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
        """Closes the connections of both."""
        if self._session is not None:
            await self._session.close()
        await super().aclose()

    @override
    async def __aexit__(self, *error: Any) -> None:
        if self._session is not None:
            await self._session.close()
        await super().__aexit__(*error)

    def _open(self) -> aiohttp.ClientSession:
        """At the first request: a session belongs to the event loop that it was made in."""
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
