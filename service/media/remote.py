"""Fetches media from the hosts that an operator allows, and from nowhere else.

Called by `media_fetch`. A name is resolved once, every address that it has must be public, and the
connection goes to such an address while TLS still asks for the name. Redirects are followed by
hand, each hop checked like the first. Nothing of the network's answers, and no address, is told.
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
    # What would have to be unpacked could unpack to anything.
    "Accept-Encoding": "identity",
    "User-Agent": "lamm",
}


@dataclass(frozen=True, slots=True)
class RemoteLimits:
    """Seconds that a fetch may take in all, and how many redirects it may follow."""

    timeout_s: float
    max_redirects: int = 3


class RemoteMedia:
    """Fetches one medium after another; keeps no connection and no cookie."""

    def __init__(
        self,
        hosts: AllowedHosts,
        limits: RemoteLimits,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` verifies certificates; left out, against the well-known authorities."""
        self.hosts, self._limits = hosts, limits
        self.resolver = resolver or Resolver()
        # Made once: it reads all the authorities.
        self.tls = tls or httpx.create_ssl_context(trust_env=False)

    async def fetch(
        self, url: RemoteUrl, modality: Modality, budget: ItemBudget, param: str
    ) -> bytes:
        """The bytes behind a URL that `AllowedHosts` let pass.

        Args:
            url: where to begin.
            modality: what is expected; a web page is neither.
            budget: how many bytes may come.
            param: names the part of the request.

        Raises:
            RequestError: an address on the way is refused.
            MediaUnreachableError: no such answer within the time.
            MediaTooLargeError: more bytes than the budget has.
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
        """Lets go of the resolver's threads."""
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
                # Where it leads is the other side's business, and perhaps the inside of a network.
                raise UrlRefusedError(
                    f"the host {url.host[:64]!r} redirects to an address that is not allowed"
                ) from None
        raise MediaUnreachableError(
            f"the URL redirects more than {self._limits.max_redirects} times"
        )

    async def _ask(
        self, url: RemoteUrl, modality: Modality, budget: ItemBudget, deadline: asyncio.Timeout
    ) -> bytes | str:
        """The body, or the text of a redirect's address; each address of the host is tried."""
        try:
            addresses = await self.resolver.resolve(url.host, url.port)
        except OSError as error:
            raise _unreachable(url, error) from None
        # So that each address has its turn, and a handshake ends by itself: one that is cancelled
        # leaves its socket to the garbage collector.
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
        # A transport of its own: a pool would know connections by their address alone, and hand
        # one that was made for a name to another name there.
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
            raise MediaUnreachableError(f"the host {host!r} redirects to nowhere")
        return str(location)
    if response.status_code != httpx.codes.OK:
        raise MediaUnreachableError(
            f"the host {host!r} answered {response.status_code}; it must be 200"
        )
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaUnreachableError(f"the host {host!r} sent the medium compressed once more")
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
    """Refuses what is certainly no medium; many hosts name a cloud's type only roughly."""
    kind = content_type.partition(";")[0].strip().lower()
    main = kind.partition("/")[0]
    unknown = kind in ("", "application/octet-stream", "binary/octet-stream")
    fits = (
        main == "image" if modality is Modality.IMAGE else main in ("application", "text", "model")
    )
    if kind in ("text/html", "application/xhtml+xml") or not (unknown or fits):
        raise MediaUnreachableError(
            f"the host {host!r} sent {kind[:64]!r}, which is no "
            f"{'picture' if modality is Modality.IMAGE else 'point cloud'}"
        )


def _unreachable(url: RemoteUrl, error: Exception) -> MediaUnreachableError:
    logger.info("a medium from %s could not be fetched: %r", url.host, error)
    return MediaUnreachableError(
        f"the host {url.host[:64]!r} cannot be reached, or answers wrongly"
    )
