"""The baseline of a load test: another OpenAI-compatible server, under the same load."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.http.client import Backend, ChatClient
from benchmark.http.connection import open_stream_http
from benchmark.load.metrics import summarise
from benchmark.load.requests import RequestStyle
from benchmark.load.run import BaselineRound
from benchmark.load.sender import send_all
from benchmark.load.workload import WorkItem


class ServerBaseline:
    """A second server that answers the same prompts in a closed loop, over the same client code."""

    def __init__(
        self,
        client: ChatClient,
        model: str,
        url: str,
        style: RequestStyle,
        percentiles: Sequence[float],
    ) -> None:
        self.name = url
        self.facts = {"url": url, "model": model, "backend": str(style.backend)}
        self._client, self._model, self._style = client, model, style
        self._percentiles = tuple(percentiles)

    @classmethod
    async def connect(
        cls,
        stack: AsyncExitStack,
        url: str,
        model: str | None = None,
        *,
        seconds: float,
        api_key: str | None = None,
        ignore_eos: bool = True,
        percentiles: Sequence[float] = (99.0,),
    ) -> ServerBaseline:
        """Opens connections, which `stack` closes, and asks for the model's name if none is given.

        `seconds` is the longest time without a byte.

        Raises:
            RequestFailedError: the server names no model.
            ServerGoneError: it cannot be reached.
        """
        http = await stack.enter_async_context(open_stream_http(url, seconds, api_key))
        client = ChatClient(http, 1 << 16)
        style = RequestStyle(Backend.OPENAI_CHAT, ignore_eos)
        name = model or await client.first_model()
        return cls(client, name, url, style, percentiles)

    async def run(self, items: Sequence[WorkItem], batch_size: int) -> BaselineRound:
        """Sends all items, `batch_size` in flight.

        Raises:
            BenchmarkError: a request failed, so the round is no measure.
        """
        sent, seconds = await send_all(
            self._client, self._model, self._style, items, [0.0] * len(items), batch_size
        )
        records = [one.record for one in sent]
        failed = [record.error for record in records if record.error is not None]
        if failed:
            raise BenchmarkError(
                f"{len(failed)} of {len(items)} requests to the baseline {self.name} failed; "
                f"first error: {failed[0]}"
            )
        result: dict[str, Any] = summarise(records, seconds, self._percentiles)
        return BaselineRound(int(result["total_output_tokens"]), seconds, result)
