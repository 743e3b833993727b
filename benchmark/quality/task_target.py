"""Questions at the tasks' own routes: `POST /v1/tasks/{task}`, whose answers have scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.errors import RequestFailedError
from benchmark.http.chat_answers import Usage
from benchmark.quality.controls import without_options
from benchmark.suite import Item

TASKS_PATH = "/v1/tasks"


@dataclass(frozen=True, slots=True)
class Told:
    """The model's text, and the scores of its answer; see `Answer`."""

    text: str
    finish_reason: str | None
    usage: Usage
    fingerprint: str | None
    score: float | None
    scores: Mapping[str, float] | None
    logprobs: Mapping[str, Mapping[str, float]] | None


def task_inputs(item: Item) -> dict[str, Any]:
    """The inputs of the request. The endpoint appends the options to the question itself."""
    inputs: dict[str, Any] = item.inputs.model_dump(mode="json", exclude_none=True)
    # The server reads it from the picture.
    inputs.pop("size", None)
    if "choices" in inputs:
        inputs["question"] = without_options(inputs["question"], inputs["choices"])
    return inputs


def task_path(item: Item) -> str:
    """The task's route."""
    return f"{TASKS_PATH}/{item.task.name}"


def encode_task(
    item: Item,
    part: bytes,
    model: str,
    mode: Literal["text", "likelihood"] = "text",
    max_tokens: int | None = None,
) -> bytes:
    """A request body that contains an encoded content part of `MediaCache`.

    `max_tokens` is the limit of the answer; None for the task's.
    """
    fields: dict[str, Any] = {"model": model, "mode": mode, "inputs": task_inputs(item)}
    if max_tokens is not None:
        fields["max_tokens"] = max_tokens
    # A part is {"type":"image_url","image_url":{...}}; a task takes the field without the type.
    medium = part[part.index(b",") + 1 : -1]
    return b"".join([json.dumps(fields).encode()[:-1], b",", medium, b"}"])


def read_task(body: bytes) -> Told:
    """The answer of a task's route.

    Raises:
        RequestFailedError: the body is not a task response.
    """
    try:
        value = json.loads(body)
        usage = value.get("usage") or {}
        whole, places = value.get("score"), value.get("scores")
        logprobs = None
        if whole is not None:
            logprobs = {"": {"logprob": float(whole["logprob"])}}
            logprobs |= {str(one["path"]): _logprobs(one) for one in places or ()}
        return Told(
            text=str(value["text"]),
            finish_reason=value.get("finish_reason"),
            usage=Usage(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))),
            fingerprint=value.get("system_fingerprint"),
            score=None if whole is None else float(whole["value"]),
            scores=None if places is None else {str(p["path"]): float(p["value"]) for p in places},
            logprobs=logprobs,
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        shown = body[:200].decode("utf8", "replace")
        raise RequestFailedError(f"not a task response: {shown}") from None


def _logprobs(place: Mapping[str, Any]) -> dict[str, float]:
    names = ("logprob", "label_logprob")
    return {name: float(place[name]) for name in names if place[name] is not None}
