"""Judges of two answers: a chat model over HTTP, or sentence similarity on this machine.

A verdict is about the answers in the order shown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from benchmark.errors import BenchmarkError
from benchmark.http.client import ChatClient, server_root
from benchmark.judge.sentence_embedding import SentenceEmbedder

# Cosines closer than this are a tie: paraphrases of one sentence differ by this much.
TIE_MARGIN = 0.02
_VERDICT = re.compile(r"verdict\s*:\s*(first|second|tie)\s*\.?", re.IGNORECASE)
_MAX_TOKENS = 400
_SYSTEM = (
    "You compare two answers to a question about a picture or a point cloud that you cannot see. "
    "The reference answer says what is right. Prefer the answer that agrees better with it; the "
    "length, style and order of the answers do not count. Explain in at most two sentences. Then "
    "end with a line of exactly one of these forms:\nVERDICT: FIRST\nVERDICT: SECOND\nVERDICT: TIE"
)


class Verdict(StrEnum):
    """Which of the two shown answers is better; `unparsed` if the reply does not say."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    UNPARSED = "unparsed"


@dataclass(frozen=True, slots=True)
class Exhibit:
    """The texts that a judge compares."""

    question: str
    reference: str
    first: str
    second: str


class Judge(Protocol):
    """Anything that compares two answers.

    `name` is part of every output. `looks_twice`: whether the order can matter, so that both orders
    are shown.
    """

    @property
    def name(self) -> str:
        """Name of the judge for output."""

    @property
    def looks_twice(self) -> bool:
        """Whether a judgement needs both orders."""

    def key(self, exhibit: Exhibit) -> str:
        """Digest of everything on which the judgement depends."""

    async def judge(self, exhibit: Exhibit) -> str:
        """The reply of the judge.

        Raises:
            RequestFailedError: no reply to this request.
            ServerGoneError: the server does not answer any more.
        """

    async def is_there(self) -> bool:
        """Whether the judge can be reached, after a `ServerGoneError`."""

    def verdict(self, words: str) -> Verdict:
        """The verdict in a reply."""


class ChatJudge:
    """An OpenAI-compatible chat model with greedy decoding."""

    looks_twice = True

    def __init__(self, client: ChatClient, url: str, model: str) -> None:
        """`url` is part of the key: another server may have another model of this name."""
        self.name = model
        self._client, self._url = client, server_root(url)

    def key(self, exhibit: Exhibit) -> str:
        """Digest of server, model, prompt and sampling parameters."""
        return _digest({"server": self._url, **self._body(exhibit)})

    async def judge(self, exhibit: Exhibit) -> str:
        """The reply of the model."""
        return (await self._client.complete(self._body(exhibit))).text

    async def is_there(self) -> bool:
        """See `ChatClient.is_there`."""
        return await self._client.is_there()

    def verdict(self, words: str) -> Verdict:
        """See `read_verdict`."""
        return read_verdict(words)

    def _body(self, exhibit: Exhibit) -> dict[str, Any]:
        question = (
            f"[Question]\n{exhibit.question}\n\n[Reference answer]\n{exhibit.reference}\n\n"
            f"[First answer]\n{exhibit.first}\n\n[Second answer]\n{exhibit.second}"
        )
        messages = [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": question},
        ]
        return {
            "model": self.name,
            "messages": messages,
            "temperature": 0,
            "max_tokens": _MAX_TOKENS,
        }


class SimilarityJudge:
    """Cosine similarity of sentence embeddings to the reference; not a language model.

    It does not depend on the order, so each pair is shown once.
    """

    looks_twice = False

    def __init__(self, embedder: SentenceEmbedder) -> None:
        self.name = (
            f"local sentence similarity ({embedder.model}, cosine to the reference, "
            f"tie within {TIE_MARGIN:g}; not a language model's judgement)"
        )
        self._embedder = embedder

    def key(self, exhibit: Exhibit) -> str:
        """Digest of the embedder's name and the texts."""
        return _digest({"judge": self.name, **asdict(exhibit)})

    async def judge(self, exhibit: Exhibit) -> str:
        """Both cosines, as JSON."""
        texts = [exhibit.reference, exhibit.first, exhibit.second]
        _, first, second = await self._embedder.cosines_with_first(texts)
        return json.dumps({"first": round(first, 4), "second": round(second, 4)})

    async def is_there(self) -> bool:
        """A process that ended is not restarted."""
        return False

    def verdict(self, words: str) -> Verdict:
        """The closer answer, or a tie."""
        try:
            cosines: Mapping[str, Any] = json.loads(words)
            lead = float(cosines["first"]) - float(cosines["second"])
        except (ValueError, KeyError, TypeError):
            return Verdict.UNPARSED
        if abs(lead) <= TIE_MARGIN:
            return Verdict.TIE
        return Verdict.FIRST if lead > 0 else Verdict.SECOND


def read_verdict(words: str) -> Verdict:
    """The verdict in the last line of a reply; `unparsed` without one, or with several that differ.

    Strict on purpose: a guess would be the verdict of this program, not of the judge.
    """
    lines = [line.strip(" \t*_`#>\"'") for line in words.splitlines() if line.strip()]
    found = [match[1].lower() for line in lines if (match := _VERDICT.fullmatch(line))]
    if not found or len(set(found)) > 1 or not _VERDICT.fullmatch(lines[-1]):
        return Verdict.UNPARSED
    return Verdict(found[0])


def api_key(variable: str | None, environment: Mapping[str, str]) -> str | None:
    """The API key in an environment variable; None if `variable` is None.

    Raises:
        BenchmarkError: the variable is not set.
    """
    if variable is None:
        return None
    key = environment.get(variable)
    if not key:
        raise BenchmarkError(f"--judge-api-key names {variable}, which is not set or is empty")
    return key


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
