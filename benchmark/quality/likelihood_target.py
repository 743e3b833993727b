"""Closed questions answered by the most probable option: `POST /v1/tasks/{task}`.

A chat answer may name no option, or two; likelihoods always rank all of them. The answer is stored
as the task renders it, so that it is parsed and scored like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from benchmark.errors import RequestFailedError
from benchmark.http.chat_answers import Usage
from benchmark.quality.task_target import encode_task
from benchmark.suite import Item


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best option as the task renders it, and all options with their log-probabilities."""

    text: str
    options: Sequence[Mapping[str, Any]]
    finish_reason: str | None
    usage: Usage
    fingerprint: str | None


def can_be_ranked(item: Item) -> bool:
    """Whether the item's answer comes from a closed set, which the task's endpoint ranks."""
    return bool(item.task.options(item.inputs))


def encode_ranking(item: Item, part: bytes, model: str) -> bytes:
    """A request body that contains an encoded content part of `MediaCache`."""
    return encode_task(item, part, model, "likelihood")


def read_ranking(item: Item, body: bytes) -> Ranking:
    """The answer of a task's endpoint.

    Raises:
        RequestFailedError: the body is not a task response with options.
    """
    try:
        value = json.loads(body)
        answer = item.task.answer_model.model_validate(value["answer"])
        text = item.task.render(answer, item.inputs)
        options = [
            {"option": str(one["option"]), "logprob": float(one["logprob"]),
             "probability": float(one["probability"]), "num_tokens": int(one["num_tokens"])}
            for one in value["options"]
        ]  # fmt: skip
        if not options:
            raise ValueError("no options")
        usage = value.get("usage") or {}
        return Ranking(
            text=text,
            options=options,
            finish_reason=value.get("finish_reason"),
            usage=Usage(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))),
            fingerprint=value.get("system_fingerprint"),
        )
    except (ValueError, LookupError, TypeError, AttributeError, ValidationError):
        shown = body[:200].decode("utf8", "replace")
        raise RequestFailedError(f"not a task response with options: {shown}") from None
