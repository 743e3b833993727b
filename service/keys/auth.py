"""Access control: the role that each route declares, and the middleware that enforces it.

Every route declares its role as a dependency (`dependencies=[USER]`); a route without one is for
admins only. `AccessMiddleware` finds the route of a request before its body is read, and the
dependency checks the route that was reached once more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import translate
from service.exceptions import (
    AuthenticationError,
    PermissionDeniedError,
    RequestError,
)
from service.keys.api_keys import ApiKeys, Role
from service.keys.rate_limit import KeyAccount, KeyAccounts
from service.keys.request_registry import RunningRequests
from service.keys.sites import AllowedSites

logger = logging.getLogger(__name__)

CALLER = "lamm.caller"
REQUEST_ID = "lamm.request_id"

_POLICY_VIOLATION = 1008  # RFC 6455
_BEARER = HTTPBearer(auto_error=False, scheme_name="API key", description="an API key")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: a key, an anonymous client, or anyone if no keys are required.

    `owner` is the key's digest. An anonymous caller of an open route has no role. A `patient` one
    waits for its first token without a limit.
    """

    name: str | None
    role: Role | None
    owner: bytes | None
    account: KeyAccount | None
    patient: bool = False


class Declared:
    """What a route declares among its dependencies: a role, or None if it is open.

    `works` marks requests that run in the engine: they count against the key's limits.
    """

    def __init__(self, role: Role | None, works: bool) -> None:
        self.role, self.works = role, works


class Open(Declared):
    """Everyone may call the route."""

    def __init__(self) -> None:
        super().__init__(None, works=False)

    async def __call__(self) -> None:
        """Nothing to check; `async` for the reason in `dependencies`."""


class Requires(Declared):
    """The route needs a key with this role, or an admin's."""

    def __init__(self, role: Role, *, works: bool = False) -> None:
        super().__init__(role, works)

    async def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
    ) -> None:
        """Checks the route that was actually reached.

        Raises:
            PermissionDeniedError: the middleware admitted the caller for another role.
        """
        caller: Caller | None = request.scope.get(CALLER)
        if caller is None or self.role is None:
            raise TypeError("the route was reached past AccessMiddleware")
        if self.role is Role.METRICS:
            return  # whether these are open is the operator's choice, and asked already
        if caller.role is None or not caller.role.may_act_as(self.role):
            raise PermissionDeniedError(self.role, caller.role or "none")


OPEN = Depends(Open())
USER = Depends(Requires(Role.USER))
USER_WORK = Depends(Requires(Role.USER, works=True))
METRICS = Depends(Requires(Role.METRICS))
ADMIN = Depends(Requires(Role.ADMIN))

_UNDECLARED = Requires(Role.ADMIN)
_NO_ROUTE = Requires(Role.USER)


def declared(route: object) -> Declared | None:
    """The strictest declaration among a route's dependencies; None if there is none."""
    found = [
        dependency.dependency
        for dependency in getattr(route, "dependencies", ())
        if isinstance(dependency.dependency, Declared)
    ]
    order = [None, Role.METRICS, Role.USER, Role.ADMIN]
    return max(found, key=lambda one: (order.index(one.role), one.works), default=None)


def needed(routes: list[BaseRoute], scope: Scope) -> Declared:
    """The declaration of the route that a request matches; without a match any key may see the
    404.
    """
    partial: Declared | None = None
    for route in iter_route_contexts(routes):
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return declared(route) or _UNDECLARED
        if match is Match.PARTIAL and partial is None:
            partial = declared(route) or _UNDECLARED
    return partial or _NO_ROUTE


class AccessControl:
    """The keys of one app, their use, and their running requests."""

    def __init__(self, keys: ApiKeys, open_metrics: bool = True) -> None:
        """`open_metrics` allows /metrics without a key, as scrapers in closed networks need."""
        self.keys, self.accounts, self.running = keys, KeyAccounts(), RunningRequests()
        self._open_metrics = open_metrics

    def admit(self, needs: Declared, authorization: str) -> Caller:
        """The caller, if its key's role suffices.

        Raises:
            AuthenticationError: a key is required but missing or unknown.
            PermissionDeniedError: the key's role does not suffice.
        """
        is_open = needs.role is None or (needs.role is Role.METRICS and self._open_metrics)
        if is_open or not self.keys.required:
            # Without keys the operator trusts everyone who can reach the service.
            return Caller(None, None if self.keys.required else Role.ADMIN, None, None)
        scheme, _, presented = authorization.partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise AuthenticationError("an API key is required: Authorization: Bearer KEY")
        key = self.keys.find(presented.strip())
        if key is None:
            raise AuthenticationError("the API key is not valid")
        if needs is not _NO_ROUTE and needs.role and not key.role.may_act_as(needs.role):
            raise PermissionDeniedError(needs.role, key.role)
        return Caller(key.name, key.role, key.digest, self.accounts.of(key))


class AccessMiddleware:
    """Refuses callers before their body is read; counts and registers requests that run."""

    def __init__(
        self,
        app: ASGIApp,
        access: AccessControl,
        refused: Callable[[str], None],
        sites: AllowedSites,
    ) -> None:
        """
        Args:
            access: the keys and what they may do.
            refused: called with the reason when a key's limit refuses a request.
            sites: which web pages may call.
        """
        self._app, self._access, self._refused, self._sites = app, access, refused, sites

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        needs = needed(scope["app"].routes, scope)
        with contextlib.ExitStack() as running:
            try:
                headers = Headers(scope=scope)
                # Clients cannot set it: the service itself calls (`batches`).
                caller: Caller | None = scope.get(CALLER)
                if caller is None:
                    self._sites.check(scope["method"], headers)
                    caller = self._access.admit(needs, headers.get("authorization", ""))
                scope[CALLER] = caller
                if needs.works and caller.account is not None:
                    running.enter_context(self._counted(caller.account))
            except RequestError as error:
                await translate(error).response()(scope, receive, send)
                return
            if not needs.works:
                await self._app(scope, receive, send)
                return
            await self._access.running.run(
                self._app, scope, receive, send,
                request_id=scope.get(REQUEST_ID, ""), owner=caller.owner,
            )  # fmt: skip

    @contextlib.contextmanager
    def _counted(self, account: KeyAccount) -> Iterator[None]:
        with contextlib.ExitStack() as running:
            try:
                running.enter_context(account.running())
            except RequestError as error:
                self._refused(getattr(error, "reason", "key_limit"))
                raise
            yield
