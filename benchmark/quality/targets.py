"""Who takes the exam: a LAMM service, or any other server that speaks OpenAI's chat protocol.

A target turns a question into a request and its reply into text. What a question's answer depends
on beside the weights (`conditions`) and what cannot be asked of a server (`refusal`) are pure
functions, so that kept answers are found again without any server. Called by `quality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.content import MediaCache, encode_chat, is_cloud, user_message
from benchmark.errors import BenchmarkError
from benchmark.http.chat_answers import Usage, read_completion
from benchmark.http.client import CHAT_PATH, Backend, ChatClient, server_root, shown
from benchmark.quality.controls import Control, Question, seed_of
from benchmark.quality.controls_media import blank_part
from benchmark.quality.likelihood_target import (
    can_be_ranked,
    encode_ranking,
    ranked_inputs,
    ranking_path,
    read_ranking,
)
from benchmark.suite import Item

# Answers to what a control sent once are no answers to what it sends now.
_CONTROL_VERSIONS = {Control.BLANK_MEDIA: "blank-media/2"}


class Mode(StrEnum):
    """How closed questions are answered: in words, or by the likeliest of their options."""

    TEXT = "text"
    LIKELIHOOD = "likelihood"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Who answers. `fingerprint` names the weights and the prompt preset where the server tells;
    of a server that does not, or whose fingerprint is not to be relied on, model id and address.
    """

    url: str
    model: str
    fingerprint: str
    asked_at: str
    backend: str = Backend.LAMM.value
    mode: str = Mode.TEXT.value


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's text; `options` with their log-probabilities where those decided."""

    text: str
    finish_reason: str | None
    usage: Usage
    options: Sequence[Mapping[str, Any]] | None = None


class ModelChangedError(BenchmarkError):
    """Another model answers than the one that the run began with."""


class Target:
    """A server under examination, known by its identity."""

    def __init__(self, client: ChatClient, identity: ModelIdentity, media: MediaCache) -> None:
        self.identity = identity
        self._client = client
        self._media = media

    async def ask(self, question: Question) -> Reply:
        """One answer, greedy.

        Raises:
            ServerGoneError: no connection after every attempt.
            RequestFailedError: refused for good, or answered in another shape.
            ModelChangedError: a LAMM service answers with other weights.
            BenchmarkError: the medium cannot be sent.
            OSError: the medium cannot be read.
        """
        response = await self._client.post(self.path(question), self.body(question))
        return self.read(question, response.content)

    def path(self, question: Question) -> str:
        """The route that a question is put to."""
        if asks_by_likelihood(question, Mode(self.identity.mode)):
            return ranking_path(question.item)
        return CHAT_PATH

    def body(self, question: Question) -> bytes:
        """The JSON body that asks it.

        Raises:
            BenchmarkError: the medium cannot be sent.
            OSError: the medium cannot be read.
        """
        item, part = question.item, self._part(question)
        if asks_by_likelihood(question, Mode(self.identity.mode)):
            if part is None:
                raise BenchmarkError("a question without a medium cannot be answered by likelihood")
            return encode_ranking(item, part, self.identity.model)
        fields = {"model": self.identity.model, "stream": False, **parameters(item)}
        return encode_chat(item.sample.question, part, fields)

    def read(self, question: Question, content: bytes) -> Reply:
        """The reply in the body of an answer.

        Raises:
            RequestFailedError: it has another shape.
            ModelChangedError: other weights have answered.
        """
        if asks_by_likelihood(question, Mode(self.identity.mode)):
            ranking = read_ranking(question.item, content)
            self._check(ranking.fingerprint)
            return Reply(ranking.text, ranking.finish_reason, ranking.usage, ranking.options)
        result = read_completion(content)
        self._check(result.fingerprint)
        return Reply(result.text, result.finish_reason, result.usage)

    async def is_there(self) -> bool:
        """See `ChatClient.is_there`."""
        return await self._client.is_there()

    def _part(self, question: Question) -> bytes | None:
        path = question.item.media
        if path is None:
            return None
        if question.control is not Control.BLANK_MEDIA:
            return self._media.part(path)
        seed = seed_of(question.item)
        return self._media.part(path, f"blank {seed}", partial(_blank, seed))

    def _check(self, fingerprint: str | None) -> None:
        """Other servers give a fingerprint of their configuration, or a new one a request."""
        identity = self.identity
        if identity.backend != Backend.LAMM:
            return
        if (fingerprint or identity.model) != identity.fingerprint:
            raise ModelChangedError(
                f"the model changed during the run: {identity.fingerprint!r} became "
                f"{fingerprint!r}; run again to ask the new one everything"
            )


async def identify(
    client: ChatClient, url: str, model: str | None, backend: Backend, mode: Mode
) -> ModelIdentity:
    """Who answers at `url`.

    A LAMM service is asked for one token, whose reply names the weights; another server is known by
    its model and its address.

    Raises:
        ServerGoneError: no connection after every attempt.
        RequestFailedError: refused, or no model is named.
        BenchmarkError: the backend has no such mode.
    """
    if mode is Mode.LIKELIHOOD and backend is not Backend.LAMM:
        raise BenchmarkError(
            f"--mode {mode} asks /v1/tasks, which --backend {backend} does not have"
        )
    url = shown(url)
    name = model or await client.first_model()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if backend is not Backend.LAMM:
        return ModelIdentity(
            url, name, f"{name} at {server_root(url)}", now, backend.value, mode.value
        )
    message = user_message("Hello", None)
    probe = await client.complete(
        {"model": name, "messages": [message], "max_tokens": 1, "temperature": 0}
    )
    return ModelIdentity(url, name, probe.fingerprint or name, now, backend.value, mode.value)


def parameters(item: Item) -> dict[str, Any]:
    """Sampling of an item: greedy, with room for any answer of its task."""
    return {"temperature": 0, "max_tokens": item.task.max_tokens}


def conditions(question: Question, mode: Mode) -> dict[str, Any]:
    """What the answer to a question depends on, the question itself and the weights left out."""
    found: dict[str, Any] = parameters(question.item)
    if asks_by_likelihood(question, mode):
        found = {"mode": mode.value, "inputs": ranked_inputs(question.item)}
    if question.control is not None:
        found["control"] = _CONTROL_VERSIONS.get(question.control, question.control.value)
    return found


def asks_by_likelihood(question: Question, mode: Mode) -> bool:
    """Whether a question's options are ranked; open questions are answered in words all the same.

    Without a medium no task can be asked, so that control has no likelihoods (`refusal`).
    """
    return mode is Mode.LIKELIHOOD and can_be_ranked(question.item)


def refusal(question: Question, identity: ModelIdentity) -> str | None:
    """Why a question cannot be put to this server at all; None where it can."""
    item = question.item
    if identity.backend != Backend.LAMM and item.media is not None and is_cloud(item.media):
        return f"not asked: --backend {identity.backend} has no way to send a point cloud"
    if item.media is None and asks_by_likelihood(question, Mode(identity.mode)):
        return f"not asked: --mode {identity.mode} takes no question without its medium"
    return None


def _blank(seed: int, path: Path, content: bytes) -> dict[str, Any]:
    return blank_part(path, content, seed)
