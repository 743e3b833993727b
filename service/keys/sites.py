"""Which web pages may call: by the `Host` and `Origin` that their browser sends.

Without keys, everyone who reaches the service may use it, and a browser on its machine reaches it
for any page. A page whose name resolves to 127.0.0.1 (DNS rebinding) is of the same origin as the
service for the browser; only the name in `Host` tells.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from service.exceptions import CrossSiteError, ForeignHostError, ForeignOriginError

ANY = "*"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OTHER_SITES = frozenset({"cross-site", "same-site"})
# RFC 3986's host and port, without the forms that browsers never send.
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")


class AllowedSites:
    """The check of one app's requests."""

    def __init__(
        self,
        origins: Collection[str] = (),
        hosts: Collection[str] | None = None,
        *,
        any_address: bool = False,
    ) -> None:
        """
        Args:
            origins: sites whose pages may call; `*` for all.
            hosts: names of the service besides this machine's local ones, lower case; None: `Host`
                and `Origin` are not checked.
            any_address: accepts every IP address as `Host`: probes and scrapers use them, and
                rebinding needs a name.
        """
        self._origins, self._hosts, self._any_address = frozenset(origins), hosts, any_address

    def check(self, method: str, headers: Headers) -> None:
        """Refuses requests of other sites' pages, and of pages under a foreign name.

        Raises:
            CrossSiteError: a browser names another site (W3C Fetch Metadata, which pages cannot
                set) with a method that needs no preflight, as forms do.
            ForeignHostError: `Host` is no name of this service.
            ForeignOriginError: `Origin` is another site.
        """
        origin = headers.get("origin")
        allowed = bool({ANY, origin} & self._origins)
        other_site = headers.get("sec-fetch-site") in _OTHER_SITES
        if method not in _SAFE_METHODS and other_site and not allowed:
            raise CrossSiteError
        if self._hosts is None:
            return
        hosts = headers.getlist("host")
        for host in hosts:
            if not self._may_be_host(host):
                raise ForeignHostError(host)
        if origin is None or allowed:
            return
        authority = urlsplit(origin).netloc
        # Behind a tunnel or proxy, the page's address is what the browser sends as Host.
        if authority not in hosts and not self._is_ours(_host_name(authority)):
            raise ForeignOriginError(origin)

    def _may_be_host(self, authority: str) -> bool:
        """Whether no foreign page has that `Host`.

        Nobody can register a name without a dot, such as a container's: ICANN forbids addresses at
        top-level domains (SAC 053).
        """
        name = _host_name(authority)
        if name is None:
            return False
        if self._is_ours(name) or not {".", ":"} & set(name):
            return True
        return self._any_address and _address(name) is not None

    def _is_ours(self, name: str | None) -> bool:
        """Whether it is a local name or address, or one that the operator gave."""
        if name is None:
            return False
        if name == "localhost" or name.endswith(".localhost") or name in (self._hosts or ()):
            return True
        address = _address(name)
        return address is not None and address.is_loopback


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` is reached from its own machine alone."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _host_name(authority: str) -> str | None:
    """The lower-case host of `host:port`; None for what no browser sends."""
    found = _AUTHORITY.fullmatch(authority)
    return None if found is None else found[1].lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address, with or without brackets; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
