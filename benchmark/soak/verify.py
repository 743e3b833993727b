"""Answers given in the crowd beside the same requests' answers alone. Called by `soak`.

Greedy answers are the same alone and in any batch: each difference is a wrong answer.
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
    """A request that was answered otherwise in the crowd than alone."""

    number: int
    question: str
    in_crowd: str
    alone: str


@dataclass(slots=True)
class Verification:
    """What the comparison found.

    `cached_tokens` of the solo answers' `prompt_tokens` came from a cache, which the crowd may have
    filled. `distinct` and `commonest` (a share) tell what a mix-up of two requests could hide in:
    where all answers are alike, none shows.
    """

    checked: int = 0
    wrong: list[WrongAnswer] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    distinct: int = 0
    commonest: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
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
    """Asks each finished request again, one at a time; with a limit as many, drawn evenly.

    A server that is gone ends it; what was compared until then counts.
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
