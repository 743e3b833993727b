"""Which URLs may be fetched, and which network addresses may be connected to.

A URL is checked before anything is done, and again on each redirect; so is each resolved name.
Sources: RFC 6890 and IANA's special-purpose registries, RFC 4291, 3056, 6052.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

MAX_URL = 2048
_HTTPS_PORT = 443
_MAX_PORT = 65535
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


class UrlRefusedError(ValueError):
    """A URL that is not fetched; the message is our own."""


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """A checked URL: parsed, its host in ASCII, and its port."""

    url: httpx.URL
    host: str
    port: int


class AllowedHosts:
    """The hosts that the operator allows by name; nothing is fetched without any."""

    def __init__(self, entries: Iterable[str]) -> None:
        """`entries` are `HOST` (port 443) or `HOST:PORT`.

        Raises:
            ValueError: an entry is not a valid host name.
        """
        self._ports: dict[str, set[int]] = {}
        for entry in entries:
            host, port = _read_entry(entry)
            self._ports.setdefault(host, set()).add(port)

    def __bool__(self) -> bool:
        return bool(self._ports)

    def check(self, text: str) -> RemoteUrl:
        """The URL, if it may be fetched.

        Raises:
            UrlRefusedError: it is malformed, not https, or its host or port is not allowed.
        """
        if len(text) > MAX_URL:
            raise UrlRefusedError(f"the URL has {len(text)} characters; the limit is {MAX_URL}")
        if "\\" in text or not text.isprintable() or any(letter.isspace() for letter in text):
            raise UrlRefusedError("the URL contains a backslash, a space or a control character")
        try:
            url = httpx.URL(text)
            host = url.raw_host.decode("ascii").lower()
        except (httpx.InvalidURL, UnicodeError):
            raise UrlRefusedError("the URL is not valid; expected https://...") from None
        if url.scheme != "https":
            raise UrlRefusedError("the URL must begin with https://")
        if url.userinfo:
            raise UrlRefusedError("the URL contains a user name or password")
        if host not in self._ports:
            raise UrlRefusedError(
                f"the host {host[:64]!r} is not allowed; the operator can allow it with "
                "--allowed-media-host"
            )
        port = _HTTPS_PORT if url.port is None else url.port
        if port not in self._ports[host]:
            raise UrlRefusedError(
                f"port {port} of the host {host[:64]!r} is not allowed; the operator can "
                "allow it with --allowed-media-host HOST:PORT"
            )
        return RemoteUrl(url, host, port)


def is_public(text: str) -> bool:
    """Whether an address, as text, belongs to a host on the public internet.

    An IPv6 address that embeds an IPv4 address is judged by that one.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False  # a zone of a link-local address, or no address at all
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_v4(address)
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    inside = address in _GLOBAL_UNICAST and not any(address in net for net in _REFUSED_V6)
    return inside and address.is_global and not _is_isatap(address)


class Resolver:
    """Resolves names to public addresses."""

    def __init__(
        self, lookup: Lookup | None = None, is_public: Callable[[str], bool] = is_public
    ) -> None:
        """
        Args:
            lookup: host and port to addresses; by default the system's resolver in its own threads,
                so that a slow name server delays nothing else.
            is_public: whether an address may be connected to.
        """
        self._threads = ThreadPoolExecutor(4, "lamm-resolver") if lookup is None else None
        self._lookup, self._is_public = lookup or self._ask_system, is_public

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """All addresses of a host.

        Raises:
            UrlRefusedError: one of them is not public; a name with public and private addresses is
                meant to bypass a check.
            OSError: it has none.
        """
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        if not addresses:
            raise OSError("the name has no address")
        if not all(map(self._is_public, addresses)):
            raise UrlRefusedError(f"the host {host[:64]!r} is not on the public internet")
        return addresses

    def close(self) -> None:
        """Ends the threads after their current lookup; idempotent."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for _, _, _, _, address in found]


_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: leads to any IPv4 address
        "3fff::/20",  # documentation
    )
)
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; a cloud's metadata address is in it
        "168.63.129.16/32",  # a cloud's host agent, on a public address
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not any(address in net for net in _REFUSED_V4)


def _is_isatap(address: ipaddress.IPv6Address) -> bool:
    """RFC 5214: the interface identifier is 0000:5efe or 0200:5efe before an IPv4 address."""
    return (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE)


def _read_entry(entry: str) -> tuple[str, int]:
    try:
        url = httpx.URL(f"https://{entry}/")
        host = url.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError(
            f"{entry!r} is not a valid host; expected example.com or example.com:8443"
        ) from None
    plain = url.raw_path == b"/" and not url.userinfo and not entry.endswith("/")
    port = _HTTPS_PORT if url.port is None else url.port
    named = _NAME.fullmatch(host) is not None and not _is_address(host)
    if not plain or not named or not 1 <= port <= _MAX_PORT:
        raise ValueError(
            f"{entry!r} is not a valid host name; expected example.com or example.com:8443"
        )
    return host, port


def _is_address(host: str) -> bool:
    """Also short and unusual notations, which end in a number: 127.1, 0x7f.1."""
    last = host.rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")
