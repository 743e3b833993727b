"""Compares the answers under load with the answers to the same requests alone.

Greedy answers do not depend on the batch: each difference is a wrong answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.errors import RequestFailedError, ServerGoneError
from benchmark.http.client import ChatClient
from benchmark.soak.clients import Finished
from benchmark.soak.requests import SoakRequests


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """A request with different answers under load and alone."""

    number: int
    question: str
    in_crowd: str
    alone: str


@dataclass(slots=True)
class Verification:
    """Result of the comparison.

    `cached_tokens` of the `prompt_tokens` came from a cache, which the load may have filled.
    `distinct` answers and the share of the `commonest` one show whether a mix-up of two requests
    could be noticed: it could not if all answers were equal.
    """

    checked: int = 0
    wrong: list[WrongAnswer] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    distinct: int = 0
    commonest: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "checked": self.checked,
            "wrong": [
                {
                    "request": one.number, "question": one.question,
                    "in_crowd": one.in_crowd, "alone": one.alone,
                }
                for one in self.wrong
            ],
            "unanswered": self.unanswered,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "distinct_answers": self.distinct,
            "commonest_answer_share": self.commonest,
        }  # fmt: skip


async def verify(
    client: ChatClient,
    requests: SoakRequests,
    finished: Sequence[Finished],
    limit: int | None = None,
    on_tick: Callable[[Verification], None] = lambda _found: None,
) -> Verification:
    """Sends each finished request again, one at a time; `limit` takes an evenly spaced part.

    Ends early if the server is gone.
    """
    found = Verification()
    texts = Counter(one.text for one in finished)
    found.distinct = len(texts)
    found.commonest = max(texts.values(), default=0) / max(1, len(finished))
    for one in _evenly(finished, limit):
        request = requests[one.number]
        try:
            alone = await client.complete(request.body)
        except ServerGoneError as error:
            found.unanswered.append(f"request {one.number} and all after it: {error}")
            break
        except RequestFailedError as error:
            found.unanswered.append(f"request {one.number}: {error}")
            continue
        found.checked += 1
        found.prompt_tokens += alone.usage.prompt_tokens
        found.cached_tokens += alone.usage.cached_tokens
        given = (one.text, one.finish_reason, one.completion_tokens)
        expected = (alone.text, alone.finish_reason, alone.usage.completion_tokens)
        if given != expected:
            found.wrong.append(
                WrongAnswer(one.number, request.question, _told(*given), _told(*expected))
            )
        on_tick(found)
    return found


def _evenly(finished: Sequence[Finished], limit: int | None) -> list[Finished]:
    if limit is None or limit >= len(finished):
        return list(finished)
    return [finished[index * len(finished) // limit] for index in range(limit)]


def _told(text: str, finish_reason: str | None, tokens: int) -> str:
    return f"{text!r} ({finish_reason}, {tokens} tokens)"
