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
            if not (_is_dotless(host) or self._is_ours(host, self._any_address)):
                raise ForeignHostError(host)
        if origin is None or allowed:
            return
        authority = urlsplit(origin).netloc
        # Behind a tunnel or proxy, the page's address is what the browser sends as Host.
        if authority not in hosts and not self._is_ours(authority, any_address=False):
            raise ForeignOriginError(origin)

    def _is_ours(self, authority: str, any_address: bool) -> bool:
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        name = found[1].lower()
        if name == "localhost" or name.endswith(".localhost") or name in (self._hosts or ()):
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return any_address or address.is_loopback


def _is_dotless(authority: str) -> bool:
    """Whether it is a name of one label, such as a container's: nobody can register it.

    ICANN forbids addresses at top-level domains (SAC 053), so no foreign page has such a name.
    """
    found = _AUTHORITY.fullmatch(authority)
    return found is not None and not {".", ":"} & set(found[1])


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` is reached from its own machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
