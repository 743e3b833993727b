"""A server that answers as vLLM 0.32 does, without a model: tokens 5, 6, 7, ... one by one.

What vLLM does wrong, or not at all, is set on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

VOCAB_SIZE = 512


@dataclass
class FakeVllm:
    """`bodies` are the requests that arrived, `aborted` counts streams that were closed early.

    `together` tokens are sent at once.
    """

    model: str = "tiny"
    version: str = "0.32.0"
    max_model_len: int = 256
    vocab_size: int = VOCAB_SIZE
    layout: str = "[1, 2]"
    missing: set[str] = field(default_factory=set)
    forced_logprob: float = -0.5
    healthy: bool = True
    cut_after: int | None = None
    pause_s: float = 0.0
    together: int = 1
    bodies: list[dict[str, Any]] = field(default_factory=list)
    aborted: int = 0
    layout_ids: list[int] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/health", self._health)
        app.add_api_route("/version", self._version)
        app.add_api_route("/v1/models", self._models)
        app.add_api_route("/metrics", self._metrics)
        if "--enable-scale-out" not in self.missing:
            app.add_api_route("/inference/v1/generate", self._generate, methods=["POST"])
        return app

    async def _health(self) -> Response:
        return Response(status_code=200 if self.healthy else 503)

    async def _version(self) -> dict[str, str]:
        return {"version": self.version}

    async def _models(self) -> dict[str, Any]:
        card = {"id": self.model, "parent": None, "max_model_len": self.max_model_len}
        return {"data": [card]}

    async def _metrics(self) -> PlainTextResponse:
        return PlainTextResponse(
            'vllm:cache_config_info{kv_cache_size_tokens="4096"} 1.0\n'
            'vllm:kv_cache_usage_perc{engine="0"} 0.25\n'
        )

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        params = body["sampling_params"]
        for token in params.get("logit_bias", {}):
            if int(token) >= self.vocab_size:
                return _refusal(f"out-of-vocab token ids. Vocabulary size: {self.vocab_size} (...)")
        if params.get("logprobs", 0) > 20 and "--max-logprobs" in self.missing:
            return _refusal("Requested sample logprobs of 21, which is greater than max allowed")
        if body.get("features") and "--enable-mm-embeds" in self.missing:
            return _refusal("exceeds the pre-allocated encoder cache size 0")
        if body.get("stream"):
            return StreamingResponse(self._stream(params), media_type="text/event-stream")
        return JSONResponse({"choices": [self._choice(params)], "usage": _usage(0)})

    def _choice(self, params: dict[str, Any]) -> dict[str, Any]:
        if "structured_outputs" in params:
            return {"token_ids": self.layout_ids, "finish_reason": "stop"}
        token = params.get("allowed_token_ids", [5])[0]
        content = [{"token_id": token, "logprob": self.forced_logprob, "top_logprobs": []}]
        return {"token_ids": [token], "finish_reason": "length", "logprobs": {"content": content}}

    async def _stream(self, params: dict[str, Any]) -> AsyncIterator[str]:
        ended, events = False, ""
        try:
            for count in range(params["max_tokens"]):
                if count == self.cut_after:
                    ended = True
                    return
                last = count + 1 == params["max_tokens"]
                choice = {"token_ids": [5 + count], "finish_reason": "length" if last else None}
                events += _event({"choices": [choice]})
                if last or (count + 1) % self.together == 0:
                    yield events
                    events = ""
                    await asyncio.sleep(self.pause_s)
            ended = True
            yield _event({"choices": [], "usage": _usage(7)})
            yield "data: [DONE]\n\n"
        finally:
            self.aborted += not ended


@contextlib.asynccontextmanager
async def listening(fake: FakeVllm, port: int = 0) -> AsyncIterator[str]:
    """The address of the fake server while it runs; port 0 is any that is free."""
    config = uvicorn.Config(fake.app(), port=port, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn signals nothing
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        await task


def _refusal(message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "code": 400}}, 400)


def _usage(cached: int) -> dict[str, Any]:
    return {"prompt_tokens_details": {"cached_tokens": cached}}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
