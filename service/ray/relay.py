"""Sends a request to a replica and relays its answer.

A replica may end at any moment. A request whose answer has not begun is then sent to another one,
if repeating it is harmless; a stream that has begun ends with an error event and `[DONE]`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import Message, Send

from service.errors import translate
from service.exceptions import NotReadyError, OverloadedError, RequestError
from service.ray.replica import WholeAnswer
from service.schemas.events import DONE, event

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
# Requests that may be repeated: a lost answer has changed nothing.
_REPEATABLE_POST = re.compile(
    r"/v1/(chat/completions(/estimate)?|completions|responses|likelihoods|tasks/[^/]+|files)"
    r"|/(de)?tokenize"
)
_EVENT_STREAM = b"text/event-stream"


class NoReplicaError(NotReadyError):
    """No replica accepted the request in time: there is none, or all are full."""

    def __init__(self, limit_s: float) -> None:
        RequestError.__init__(
            self, f"no replica accepted the request within {limit_s:g} s", code="no_replica"
        )


class ReplicaLostError(NotReadyError):
    """The replica ended while it ran the request."""

    def __init__(self) -> None:
        RequestError.__init__(
            self, "the replica that ran the request has ended", code="replica_lost"
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a replica; `key` names its medium, "" for none."""

    scope: dict[str, Any]
    body: bytes
    key: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether it may be repeated although it may have been answered."""
        if self.scope["method"] == "POST":
            return _REPEATABLE_POST.fullmatch(self.scope["path"]) is not None
        return self.scope["method"] in ("GET", "HEAD", "OPTIONS")


class Relay:
    """The answer to one request, from whichever replica gives it."""

    def __init__(
        self, replicas: DeploymentHandle, send: Send, wait_s: float, answering: Callable[[], None]
    ) -> None:
        """
        Args:
            replicas: handle of `replica.Replica`.
            send: ASGI channel to the client.
            wait_s: seconds that a request may wait for a replica.
            answering: called when the answer begins and the request's body is no longer needed.
        """
        self._replicas, self._send, self._wait_s = replicas, send, wait_s
        self._answering = answering
        self._start: Message | None = None
        self._started = False

    async def run(self, asked: Asked) -> None:
        """Sends the whole answer. Cancelling it aborts the request on its replica.

        Raises:
            NoReplicaError, OverloadedError: no replica accepted it.
            ReplicaLostError: the replica ended before its answer began, and the request must not be
                repeated again.
            ConnectionAbortedError: the replica ended in the middle of an answer that is not a
                stream.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._attempt(asked)
            except RayTaskError:
                raise  # the app failed; another replica's would as well
            except (RayError, _LostError) as error:
                logger.warning(
                    "a replica ended with a request (attempt %d): %s", attempt, type(error).__name__
                )
                if self._started:
                    await self._break_off()
                    return
                accepted = isinstance(error, _LostError)
                if accepted and not asked.repeatable:
                    raise ReplicaLostError from error
            else:
                return
        raise ReplicaLostError

    async def _attempt(self, asked: Asked) -> None:
        stream = self._replicas.options(
            method_name="answer", stream=True, session_id=asked.key
        ).remote(asked.scope, asked.body)
        ended = False
        try:
            await self._accepted(stream)
            async for message in _unless_lost(stream):
                await self._pass_on(message)
            ended = True
        finally:
            if not ended:
                stream.cancel()

    async def _accepted(self, stream: AsyncIterator[Message]) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await anext(stream)
        except (TimeoutError, DeploymentUnavailableError):
            raise NoReplicaError(self._wait_s) from None
        except BackPressureError as error:
            raise OverloadedError(
                "all replicas are full, and the queue for them is full too", reason="replicas_full"
            ) from error

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # Until a part of the body has been sent, another replica may still answer.
            self._start = message
            return
        if self._start is not None and not self._started:
            self._started = True
            self._answering()
            await self._send(self._start)
        await self._send(message)

    async def _break_off(self) -> None:
        headers = dict(self._start["headers"]) if self._start is not None else {}
        if not headers.get(b"content-type", b"").startswith(_EVENT_STREAM):
            # The connection must end: the client would take the part for the whole.
            raise ConnectionAbortedError("a replica ended in the middle of an answer")
        body = event(translate(ReplicaLostError()).body()) + DONE
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def ask_all(replicas: DeploymentHandle, asked: Asked, wait_s: float) -> list[WholeAnswer]:
    """The answers of all replicas; those that end meanwhile are left out.

    Raises:
        NoReplicaError: none answered within `wait_s`.
    """
    try:
        response = replicas.broadcast("whole", asked.scope, asked.body)
        results = await response.results_async(timeout_s=wait_s, return_exceptions=True)
    except (TimeoutError, DeploymentUnavailableError):
        raise NoReplicaError(wait_s) from None
    answers = [result for result in results if isinstance(result, WholeAnswer)]
    for error in results:
        if isinstance(error, BaseException):
            logger.warning("a replica did not answer: %s", type(error).__name__)
    if not answers:
        raise NoReplicaError(wait_s)
    return answers


class _LostError(Exception):
    """The replica ended after it had accepted the request."""


async def _unless_lost(stream: AsyncIterator[Message]) -> AsyncIterator[Message]:
    try:
        async for message in stream:
            yield message
    except RayTaskError:
        raise
    except RayError as error:
        raise _LostError from error
