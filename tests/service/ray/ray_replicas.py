"""Replicas in this process, with the part of Ray's deployment handle that gateways use."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from ray import serve
from starlette.types import Message

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.ray import gateway as gateway_module
from service.ray import replica as replica_module
from service.ray.replica import Replica, WholeAnswer
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY


class EchoReplica(Replica):
    """A replica whose engine says what the tests' own app says, a word every `delay` seconds."""

    delay = 0.0

    def create_app(self, settings: Settings) -> FastAPI:
        return create_app(settings, EchoEngine(engine_config(settings), REPLY, self.delay))


class SlowReplica(EchoReplica):
    """One in the middle of whose answers there is time for something to happen."""

    delay = 0.1


async def start_replica(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    name: str,
    kind: type[EchoReplica] = EchoReplica,
) -> Replica:
    """A replica as Ray makes it, outside of Ray; its `stop` must be awaited."""
    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id=name))
    for module in (gateway_module, replica_module):
        # The root logger is pytest's.
        monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    with monkeypatch.context() as patched:
        patched.setattr(serve, "get_replica_context", lambda: context)
        replica = kind.__new__(kind)
        await replica.__init__(settings)  # type: ignore[misc]
    return replica


class Stream:
    """What a request's answer comes from: messages, an exception in their place, an end."""

    def __init__(self, messages: AsyncIterator[Message]) -> None:
        self._messages = messages
        self.cancelled = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Message:
        return await anext(self._messages)

    def cancel(self) -> None:
        self.cancelled = True


class Replicas:
    """The handle of replicas that answer in turn; `dying` steps stand before them."""

    def __init__(self, *replicas: Replica) -> None:
        self.replicas = deque(replicas)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.streams: list[Stream] = []
        self.dying: deque[Callable[[], AsyncIterator[Message]]] = deque()
        self._key = ""

    def options(self, *, method_name: str, stream: bool, session_id: str) -> Replicas:
        assert (method_name, stream) == ("answer", True)
        self._key = session_id
        return self

    def remote(self, scope: dict[str, Any], body: bytes) -> Stream:
        self.asked.append((self._key, scope))
        if self.dying:
            messages = self.dying.popleft()()
        else:
            self.replicas.rotate(-1)
            messages = self.replicas[0].answer(scope, body)
        self.streams.append(Stream(messages))
        return self.streams[-1]

    def broadcast(self, method: str, scope: dict[str, Any], body: bytes) -> Broadcast:
        assert method == "whole"
        return Broadcast(list(self.replicas), scope, body)


class Broadcast:
    """What all replicas answer."""

    def __init__(self, replicas: list[Replica], scope: dict[str, Any], body: bytes) -> None:
        self._replicas, self._scope, self._body = replicas, scope, body

    async def results_async(self, *, timeout_s: float, return_exceptions: bool) -> list[Any]:
        assert return_exceptions
        results: list[WholeAnswer | BaseException] = []
        for replica in self._replicas:
            results.append(await replica.whole(self._scope, self._body))
        return results
