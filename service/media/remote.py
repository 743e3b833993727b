"""Fetches media from hosts that the operator allows.

A name is resolved once, all its addresses must be public, and the connection goes to one of them
while TLS verifies the name. Redirects are followed here, and each is checked like the first URL.
Errors reveal neither addresses nor what a host answered.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from dataclasses import dataclass

import httpx

from lamm_model.conversation import Modality
from service.exceptions import MediaUnreachableError, RequestError
from service.media.budgets import ItemBudget
from service.media.remote_address import AllowedHosts, RemoteUrl, Resolver, UrlRefusedError

logger = logging.getLogger(__name__)

_SLICE = 1 << 16
_LENGTH = re.compile(r"[0-9]{1,18}")
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {
    "Accept": "*/*",
    # Compressed content could expand to any size.
    "Accept-Encoding": "identity",
    "User-Agent": "lamm",
}


@dataclass(frozen=True, slots=True)
class RemoteLimits:
    """Seconds for a whole fetch, and the maximum number of redirects."""

    timeout_s: float
    max_redirects: int = 3


class RemoteMedia:
    """Fetches media without reusing connections or cookies."""

    def __init__(
        self,
        hosts: AllowedHosts,
        limits: RemoteLimits,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` verifies certificates; by default with the system's authorities."""
        self.hosts, self._limits = hosts, limits
        self.resolver = resolver or Resolver()
        # Made once, since it reads all certificates.
        self.tls = tls or httpx.create_ssl_context(trust_env=False)

    async def fetch(
        self, url: RemoteUrl, modality: Modality, budget: ItemBudget, param: str
    ) -> bytes:
        """The content of a URL that `AllowedHosts` has checked.

        Args:
            url: the first URL.
            modality: the expected modality; web pages are refused.
            budget: maximum bytes.
            param: name of the request's part, for errors.

        Raises:
            RequestError: a URL on the way is refused.
            MediaUnreachableError: no valid answer in time.
            MediaTooLargeError: more bytes than the budget allows.
        """
        try:
            async with asyncio.timeout(self._limits.timeout_s) as deadline:
                return await self._follow(url, modality, budget, deadline)
        except UrlRefusedError as error:
            raise RequestError(str(error), param=param, code="url_refused") from None
        except TimeoutError:
            raise MediaUnreachableError(
                f"the host {url.host[:64]!r} did not send the medium within "
                f"{self._limits.timeout_s:g} s"
            ) from None

    async def close(self) -> None:
        """Stops the resolver's threads."""
        self.resolver.close()

    async def _follow(
        self, url: RemoteUrl, modality: Modality, budget: ItemBudget, deadline: asyncio.Timeout
    ) -> bytes:
        for _ in range(self._limits.max_redirects + 1):
            answer = await self._ask(url, modality, budget, deadline)
            if isinstance(answer, bytes):
                return answer
            try:
                url = self.hosts.check(str(url.url.join(answer)))
            except (UrlRefusedError, httpx.InvalidURL):
                # The redirect's target is not revealed: it may be inside a private network.
                raise UrlRefusedError(
                    f"the host {url.host[:64]!r} redirects to an address that is not allowed"
                ) from None
        raise MediaUnreachableError(
            f"the URL redirects more than {self._limits.max_redirects} times"
        )

    async def _ask(
        self, url: RemoteUrl, modality: Modality, budget: ItemBudget, deadline: asyncio.Timeout
    ) -> bytes | str:
        """The body, or the URL of a redirect; tries each address of the host."""
        try:
            addresses = await self.resolver.resolve(url.host, url.port)
        except OSError as error:
            raise _unreachable(url, error) from None
        # Divided, so that each address is tried and a handshake times out by itself: a cancelled
        # one leaves its socket to the garbage collector.
        left_s = (deadline.when() or 0.0) - asyncio.get_running_loop().time()
        patience_s = max(0.0, 0.9 * left_s / len(addresses))
        for number, address in enumerate(addresses, 1):
            try:
                return await self._ask_at(address, patience_s, url, modality, budget)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if number == len(addresses):
                    raise _unreachable(url, error) from None
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                raise _unreachable(url, error) from None
        raise MediaUnreachableError(f"the host {url.host[:64]!r} cannot be reached")

    async def _ask_at(
        self,
        address: str,
        patience_s: float,
        url: RemoteUrl,
        modality: Modality,
        budget: ItemBudget,
    ) -> bytes | str:
        # A new transport: a pool would identify connections by address only, and reuse one that was
        # verified for another name.
        transport = httpx.AsyncHTTPTransport(verify=self.tls, trust_env=False)
        headers = {**_HEADERS, "Host": url.url.netloc.decode("ascii")}
        async with httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(None, connect=patience_s),
            follow_redirects=False,
            trust_env=False,
        ) as client:
            request = client.build_request(
                "GET",
                url.url.copy_with(host=address, fragment=None),
                headers=headers,
                extensions={"sni_hostname": url.host},
            )
            response = await client.send(request, stream=True)
            try:
                return await _read(response, url, modality, budget)
            finally:
                await response.aclose()


async def _read(
    response: httpx.Response, url: RemoteUrl, modality: Modality, budget: ItemBudget
) -> bytes | str:
    host = url.host[:64]
    if response.status_code in _REDIRECTS:
        location = response.headers.get("location")
        if not location:
            raise MediaUnreachableError(f"the host {host!r} sent a redirect without a location")
        return str(location)
    if response.status_code != httpx.codes.OK:
        raise MediaUnreachableError(
            f"the host {host!r} answered with status {response.status_code}; expected 200"
        )
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaUnreachableError(f"the host {host!r} sent the medium with a content encoding")
    _check_kind(response.headers.get("content-type", ""), modality, host)
    announced = response.headers.get("content-length", "")
    if _LENGTH.fullmatch(announced):
        budget.check(int(announced))
    body = bytearray()
    async for piece in response.aiter_raw(_SLICE):
        budget.take(len(piece))
        body += piece
    return bytes(body)


def _check_kind(content_type: str, modality: Modality, host: str) -> None:
    """Refuses types that cannot be a medium; many hosts have only rough types for clouds."""
    kind = content_type.partition(";")[0].strip().lower()
    main = kind.partition("/")[0]
    unknown = kind in ("", "application/octet-stream", "binary/octet-stream")
    fits = (
        main == "image" if modality is Modality.IMAGE else main in ("application", "text", "model")
    )
    if kind in ("text/html", "application/xhtml+xml") or not (unknown or fits):
        raise MediaUnreachableError(
            f"the host {host!r} sent {kind[:64]!r}; expected a "
            f"{'picture' if modality is Modality.IMAGE else 'point cloud'}"
        )


def _unreachable(url: RemoteUrl, error: Exception) -> MediaUnreachableError:
    logger.info("a medium from %s could not be fetched: %r", url.host, error)
    return MediaUnreachableError(
        f"the host {url.host[:64]!r} cannot be reached, or its answer is invalid"
    )
