"""Who judges two answers: a chat model over HTTP, or sentence similarity on this machine.

Called by `judge`. A verdict is about the answers in the order shown; who is who knows the caller.
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

# Cosines closer than this are a tie: paraphrases of one sentence differ by as much.
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
    """Which of the two shown answers is better; `unparsed` where the words leave it open."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    UNPARSED = "unparsed"


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What a judge sees."""

    question: str
    reference: str
    first: str
    second: str


class Judge(Protocol):
    """Anything that compares two answers.

    `name` stands in every output. `looks_twice`: whether the order can matter, so that both must
    be shown.
    """

    @property
    def name(self) -> str:
        """Who judges, for people."""

    @property
    def looks_twice(self) -> bool:
        """Whether a judgement needs both orders."""

    def key(self, exhibit: Exhibit) -> str:
        """Digest of all that the judgement depends on."""

    async def judge(self, exhibit: Exhibit) -> str:
        """The judge's own words.

        Raises:
            RequestFailedError: no answer to this one.
            ServerGoneError: no answer to anything any more.
        """

    async def is_there(self) -> bool:
        """Whether it answers at all, after a `ServerGoneError`."""

    def verdict(self, words: str) -> Verdict:
        """What the words say."""


class ChatJudge:
    """An OpenAI-compatible chat model, asked greedily."""

    looks_twice = True

    def __init__(self, client: ChatClient, url: str, model: str) -> None:
        """`url` is the server's address: others may give another model the same name."""
        self.name = model
        self._client, self._url = client, server_root(url)

    def key(self, exhibit: Exhibit) -> str:
        """Depends on server, model's name, the whole prompt and the sampling."""
        return _digest({"server": self._url, **self._body(exhibit)})

    async def judge(self, exhibit: Exhibit) -> str:
        """The model's reply."""
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
    """Cosine of sentence embeddings with the reference: no language model's judgement.

    The same for either order, so each pair is looked at once.
    """

    looks_twice = False

    def __init__(self, embedder: SentenceEmbedder) -> None:
        self.name = (
            f"local sentence similarity ({embedder.model}, cosine to the reference, "
            f"tie within {TIE_MARGIN:g}; not a language model's judgement)"
        )
        self._embedder = embedder

    def key(self, exhibit: Exhibit) -> str:
        """Depends on the embedder's name and the texts."""
        return _digest({"judge": self.name, **asdict(exhibit)})

    async def judge(self, exhibit: Exhibit) -> str:
        """Both cosines, as JSON."""
        texts = [exhibit.reference, exhibit.first, exhibit.second]
        _, first, second = await self._embedder.cosines_with_first(texts)
        return json.dumps({"first": round(first, 4), "second": round(second, 4)})

    async def is_there(self) -> bool:
        """A process that ended does not come back."""
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
    """The verdict of a reply's last line; one that says none, or several that differ, is unparsed.

    Strict on purpose: a guess at what a rambling judge meant would be this program's verdict.
    """
    lines = [line.strip(" \t*_`#>\"'") for line in words.splitlines() if line.strip()]
    found = [match[1].lower() for line in lines if (match := _VERDICT.fullmatch(line))]
    if not found or len(set(found)) > 1 or not _VERDICT.fullmatch(lines[-1]):
        return Verdict.UNPARSED
    return Verdict(found[0])


def api_key(variable: str | None, environment: Mapping[str, str]) -> str | None:
    """The key that an environment variable holds; None where no variable is named.

    Raises:
        BenchmarkError: the variable is not set.
    """
    if variable is None:
        return None
    key = environment.get(variable)
    if not key:
        raise BenchmarkError(f"--judge-api-key names {variable}, which is not set or empty")
    return key


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
