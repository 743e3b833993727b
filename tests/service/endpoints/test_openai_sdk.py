"""What OpenAI's own SDK does with this service's answers, over a real socket.

It retries what may pass and nothing else, waits as long as `Retry-After` says, and raises the type
of error that its users catch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import create_app
from service.config.settings import Settings
from service.engine.base import (
    AnswerGrammarError,
    EngineError,
    EngineStoppedError,
    GenerationChunk,
    GenerationRequest,
    QueueFullError,
    RequestFailedError,
)
from service.engine.echo_engine import EchoEngine
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body, image, png
from tests.service.listening import listening

ALICE, LIMITED, SCRAPER = "k-alice", "k-limited", "k-scraper"
KEYS = f"{ALICE} user alice\n{LIMITED} user limited max_concurrent=1\n{SCRAPER} metrics scraper\n"
ENDLESS = {"ignore_eos": True}


class Failing(EchoEngine):
    """Raises `failures`, one a request, after so many chunks; then it answers."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(engine_config(settings), REPLY, delay=0.05)
        self.failures: list[tuple[int, EngineError]] = []

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """See `Engine.generate`."""
        after, error = self.failures.pop(0) if self.failures else (-1, None)
        count = 0
        if error is not None and after == 0:
            raise error
        async for chunk in super().generate(request):
            yield chunk
            count += 1
            if error is not None and count == after:
                raise error


@dataclass(frozen=True)
class Answer:
    """A request as it was answered: when it came, and which try the SDK said it was."""

    path: str
    status: int
    arrived: float
    retry: str | None


class Recorder:
    """Notes what the app inside answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self.answers = app, list[Answer]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        arrived = time.monotonic()

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                retry = Headers(scope=scope).get("x-stainless-retry-count")
                self.answers.append(Answer(scope["path"], message["status"], arrived, retry))
            await send(message)

        await self._app(scope, receive, note)

    @property
    def statuses(self) -> list[int]:
        """Of all answers so far, in order."""
        return [answer.status for answer in self.answers]


@dataclass(frozen=True)
class Served:
    """The service of this module; `sdk` makes a client of it."""

    url: str
    engine: Failing
    recorder: Recorder

    def sdk(self, retries: int = 0, key: str = ALICE, **more: Any) -> openai.OpenAI:
        """OpenAI's client."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=retries, **more)

    def ask(self, retries: int = 0, key: str = ALICE, **more: Any) -> ChatCompletion:
        """The answer to a question."""
        with self.sdk(retries, key) as sdk:
            answer: ChatCompletion = sdk.chat.completions.create(**{**chat_body(), **more})
            return answer

    def until(self, reached: Callable[[], bool]) -> None:
        """Returns once it is so, within half a minute."""
        deadline = time.monotonic() + 30
        while not reached():
            assert time.monotonic() < deadline, self.engine.stats()
            time.sleep(0.01)


@pytest.fixture(scope="module")
def module_served(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEYS)
    changes = {
        "api_keys_file": keys, "max_num_seqs": 1, "max_waiting_requests": 1,
        "key_max_stored_bytes": 100,
    }  # fmt: skip
    ours = Settings(**(settings.model_dump() | changes))
    engine = Failing(ours)
    recorder = Recorder(create_app(ours, engine))
    with listening(recorder) as url:
        yield Served(url, engine, recorder)


@pytest.fixture
def served(module_served: Served) -> Iterator[Served]:
    """The module's service, with nothing seen and nothing failing."""
    module_served.recorder.answers.clear()
    yield module_served
    module_served.until(lambda: not module_served.engine.stats().running)
    assert module_served.engine.failures == []


def full() -> QueueFullError:
    return QueueFullError(256, 256, "requests")


def test_a_503_is_asked_again_after_retry_after(served: Served) -> None:
    served.engine.failures = [(0, full()), (0, EngineStoppedError("the engine restarts"))]
    answer = served.ask(retries=2)
    assert answer.choices[0].message.content == REPLY
    assert served.recorder.statuses == [503, 503, 200]
    assert [one.retry for one in served.recorder.answers] == ["0", "1", "2"]
    arrivals = [one.arrived for one in served.recorder.answers]
    # The SDK's own first pause is half a second at most; `Retry-After: 1` is longer.
    assert arrivals[1] - arrivals[0] >= 0.95


def test_a_503_that_does_not_pass_is_an_internal_server_error(served: Served) -> None:
    served.engine.failures = [(0, full())]
    with pytest.raises(openai.InternalServerError, match="the limit is 256") as caught:
        served.ask()
    assert (caught.value.status_code, caught.value.code) == (503, "queue_full")
    assert caught.value.type == "overloaded_error"
    assert caught.value.response.headers["retry-after"] == "1"


def test_a_stream_that_was_refused_is_asked_for_again(served: Served) -> None:
    served.engine.failures = [(0, full())]
    with served.sdk(retries=1) as sdk:
        stream = sdk.chat.completions.create(
            model="tiny-lamm", messages=chat_body()["messages"], stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        chunks = list(stream)
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == REPLY
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(REPLY.split())
    assert served.recorder.statuses == [503, 200]


def test_requests_that_find_the_queue_full_come_through(served: Served) -> None:
    stats = served.engine.stats
    with served.sdk() as sdk, ThreadPoolExecutor(2) as pool:
        running = sdk.chat.completions.create(**chat_body(), stream=True, extra_body=ENDLESS)
        next(iter(running))
        waiting = pool.submit(served.ask)
        served.until(lambda: stats().waiting == 1)
        refused = pool.submit(served.ask, 5)
        served.until(lambda: 503 in served.recorder.statuses)
        running.close()
        for future in (waiting, refused):
            assert future.result(60).choices[0].message.content == REPLY
    assert served.recorder.statuses.count(503) >= 1


def test_a_schema_that_fails_in_the_middle_of_an_answer_is_the_request_s_fault(
    served: Served,
) -> None:
    served.engine.failures = [(1, AnswerGrammarError("no value satisfies the schema from here on"))]
    with pytest.raises(openai.BadRequestError, match="from here on") as caught:
        served.ask(retries=2)
    assert (caught.value.code, caught.value.param) == ("unsupported_schema", "response_format")
    assert served.recorder.statuses == [400]


def test_a_500_is_not_asked_again(served: Served) -> None:
    served.engine.failures = [(0, RequestFailedError("CUDA error: 700"))]
    with pytest.raises(openai.InternalServerError) as caught:
        served.ask(retries=2)
    assert (caught.value.status_code, caught.value.code) == (500, "request_failed")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "CUDA" not in str(caught.value)
    assert served.recorder.statuses == [500]


def test_an_engine_that_fails_in_the_middle_of_a_stream(served: Served) -> None:
    served.engine.failures = [(2, RequestFailedError("CUDA error: 700"))]
    chunks: list[ChatCompletionChunk] = []
    with served.sdk(retries=2) as sdk:
        stream = sdk.chat.completions.create(**chat_body(), stream=True)
        with pytest.raises(openai.APIError, match="failed in the engine") as caught:
            chunks.extend(stream)
    assert caught.value.code == "request_failed"
    assert REPLY.startswith("".join(one.choices[0].delta.content or "" for one in chunks))
    assert served.recorder.statuses == [200]


@pytest.mark.parametrize(
    ("more", "kind", "status", "param", "code"),
    [
        ({"max_tokens": -1}, openai.BadRequestError, 400, "max_tokens", "invalid_value"),
        ({"key": "k-other"}, openai.AuthenticationError, 401, None, "invalid_api_key"),
        ({"key": SCRAPER}, openai.PermissionDeniedError, 403, None, "insufficient_role"),
        ({"model": "gpt-7"}, openai.NotFoundError, 404, "model", "model_not_found"),
        (
            chat_body(image(png(64, 64)[:-40])), openai.UnprocessableEntityError, 422,
            "messages[0].content[0].image_url", "media_undecodable",
        ),
        ({"user": "u" * (9 << 20)}, openai.APIStatusError, 413, None, "body_too_large"),
    ],
)  # fmt: skip
def test_errors_have_the_sdk_s_types(
    served: Served,
    more: dict[str, Any],
    kind: type[openai.APIStatusError],
    status: int,
    param: str | None,
    code: str,
) -> None:
    with pytest.raises(kind) as caught:
        served.ask(retries=2, **more)
    error = caught.value
    assert (error.status_code, error.param, error.code) == (status, param, code)
    assert error.request_id
    assert served.recorder.statuses == [status], "what the client did wrong is not asked again"


def test_a_key_at_its_limit(served: Served) -> None:
    with served.sdk(key=LIMITED) as sdk:
        running = sdk.chat.completions.create(**chat_body(), stream=True, extra_body=ENDLESS)
        next(iter(running))
        with pytest.raises(openai.RateLimitError, match="its limit is 1") as caught:
            served.ask(key=LIMITED)
        assert caught.value.code == "rate_limit_exceeded"
        timer = threading.Timer(0.3, running.close)
        timer.start()
        answer = served.ask(retries=5, key=LIMITED)
        timer.join()
    assert answer.choices[0].message.content == REPLY
    assert served.recorder.statuses[:3] == [200, 429, 429]
    assert served.recorder.statuses[-1] == 200


def test_a_key_s_share_of_the_files(served: Served) -> None:
    with served.sdk(retries=2) as sdk:
        with pytest.raises(openai.PermissionDeniedError, match="take 101 bytes; its limit is 100"):
            sdk.files.create(file=("a.png", bytes(101)), purpose="vision")
        assert served.recorder.statuses == [403]
        assert sdk.files.create(file=("a.png", bytes(100)), purpose="vision").bytes == 100


def test_an_sdk_that_waits_no_longer_frees_its_seat(served: Served) -> None:
    with served.sdk(timeout=0.5) as sdk, pytest.raises(openai.APITimeoutError):
        sdk.chat.completions.create(**chat_body(max_tokens=200), extra_body=ENDLESS)
    served.until(lambda: not served.engine.stats().running)
    assert served.ask().choices[0].message.content == REPLY


async def test_the_async_client(served: Served) -> None:
    served.engine.failures = [(0, full())]
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=ALICE, max_retries=1) as sdk:
        stream = await sdk.chat.completions.create(**chat_body(), stream=True)
        text = "".join([one.choices[0].delta.content or "" async for one in stream])
        assert text == REPLY
        with pytest.raises(openai.NotFoundError, match="'gpt-7' is not served"):
            await sdk.chat.completions.create(**chat_body() | {"model": "gpt-7"})
    assert served.recorder.statuses == [503, 200, 404]
