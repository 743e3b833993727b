"""The server under test: a LAMM service, or any other server with OpenAI's chat API.

A target turns a question into a request and a response into text. The conditions of an answer
besides the weights (`conditions`) and the questions that a server cannot answer (`refusal`) are
pure functions, so that stored answers are found without a server.
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
from benchmark.quality.likelihood_target import can_be_ranked, encode_ranking, read_ranking
from benchmark.quality.task_target import encode_task, read_task, task_inputs, task_path
from benchmark.suite import Item

# A control that sends something else gets a new version, so that old answers are not reused.
_CONTROL_VERSIONS = {Control.BLANK_MEDIA: "blank-media/2"}


class Mode(StrEnum):
    """How questions are asked: as the suite words them, closed ones by the most likely option, or
    in the tasks' own words, whose answers have scores.
    """

    TEXT = "text"
    LIKELIHOOD = "likelihood"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Identity of a model. `fingerprint` identifies weights and prompt preset if the server gives
    one; for other backends it is the model id and the address.
    """

    url: str
    model: str
    fingerprint: str
    asked_at: str
    backend: str = Backend.LAMM.value
    mode: str = Mode.TEXT.value


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of an answer; `options` with log-probabilities if it was chosen by likelihood.

    `score`, `scores` and `logprobs` are as in `Answer`.
    """

    text: str
    finish_reason: str | None
    usage: Usage
    options: Sequence[Mapping[str, Any]] | None = None
    score: float | None = None
    scores: Mapping[str, float] | None = None
    logprobs: Mapping[str, Mapping[str, float]] | None = None


class ModelChangedError(BenchmarkError):
    """The model on the server changed during the run."""


class Target:
    """A server with a known model identity."""

    def __init__(self, client: ChatClient, identity: ModelIdentity, media: MediaCache) -> None:
        self.identity = identity
        self._client = client
        self._media = media
        self._mode = Mode(identity.mode)

    async def ask(self, question: Question) -> Reply:
        """The greedy answer to a question.

        Raises:
            ServerGoneError: no connection after every attempt.
            RequestFailedError: refused permanently, or a malformed answer.
            ModelChangedError: a LAMM service answered with other weights.
            BenchmarkError: the medium cannot be sent.
            OSError: the medium cannot be read.
        """
        response = await self._client.post(self.path(question), self.body(question))
        return self.read(question, response.content)

    def path(self, question: Question) -> str:
        """The path for a question."""
        return task_path(question.item) if asks_task(question, self._mode) else CHAT_PATH

    def body(self, question: Question) -> bytes:
        """The JSON body for a question.

        Raises:
            BenchmarkError: the medium cannot be sent.
            OSError: the medium cannot be read.
        """
        item, part = question.item, self._part(question)
        if asks_task(question, self._mode):
            if part is None:
                raise BenchmarkError("a question without media cannot be asked of a task's route")
            encode = encode_ranking if self._mode is Mode.LIKELIHOOD else encode_task
            return encode(item, part, self.identity.model)
        fields = {"model": self.identity.model, "stream": False, **parameters(item)}
        return encode_chat(item.sample.question, part, fields)

    def read(self, question: Question, content: bytes) -> Reply:
        """Parses the body of an answer.

        Raises:
            RequestFailedError: malformed answer.
            ModelChangedError: the answer comes from other weights.
        """
        if asks_task(question, self._mode):
            if self._mode is Mode.LIKELIHOOD:
                ranking = read_ranking(question.item, content)
                self._check(ranking.fingerprint)
                return Reply(ranking.text, ranking.finish_reason, ranking.usage, ranking.options)
            told = read_task(content)
            self._check(told.fingerprint)
            return Reply(
                told.text, told.finish_reason, told.usage, None, told.score, told.scores,
                told.logprobs,
            )  # fmt: skip
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
        """For LAMM services only: others return arbitrary fingerprints."""
        identity = self.identity
        if identity.backend != Backend.LAMM:
            return
        if (fingerprint or identity.model) != identity.fingerprint:
            raise ModelChangedError(
                f"the model changed during the run from {identity.fingerprint!r} to "
                f"{fingerprint!r}; run again to ask the new model all questions"
            )


async def identify(
    client: ChatClient, url: str, model: str | None, backend: Backend, mode: Mode
) -> ModelIdentity:
    """Identifies the model at `url`.

    The answer of a LAMM service to a one-token request has its fingerprint; other servers are
    identified by model id and address.

    Raises:
        ServerGoneError: no connection after every attempt.
        RequestFailedError: refused, or no model is named.
        BenchmarkError: the backend does not support the mode.
    """
    if mode is not Mode.TEXT and backend is not Backend.LAMM:
        raise BenchmarkError(
            f"--mode {mode} needs /v1/tasks, which --backend {backend} does not have"
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
    """Sampling parameters of an item: greedy, with the token limit of its task."""
    return {"temperature": 0, "max_tokens": item.task.max_tokens}


def conditions(question: Question, mode: Mode) -> dict[str, Any]:
    """The parameters on which an answer depends besides question and weights."""
    found: dict[str, Any] = parameters(question.item)
    if asks_task(question, mode):
        found = {"mode": mode.value, "inputs": task_inputs(question.item)}
    if question.control is not None:
        found["control"] = _CONTROL_VERSIONS.get(question.control, question.control.value)
    return found


def asks_task(question: Question, mode: Mode) -> bool:
    """Whether a question is asked at its task's route: all, or those whose options are ranked.

    /v1/tasks needs a medium, so the text-only control is not asked there (see `refusal`).
    """
    return mode is Mode.TASK or (mode is Mode.LIKELIHOOD and can_be_ranked(question.item))


def refusal(question: Question, identity: ModelIdentity) -> str | None:
    """The reason why the server cannot answer a question, or None."""
    item = question.item
    if identity.backend != Backend.LAMM and item.media is not None and is_cloud(item.media):
        return f"not asked: --backend {identity.backend} cannot send point clouds"
    if item.media is None and asks_task(question, Mode(identity.mode)):
        return f"not asked: --mode {identity.mode} needs a medium"
    return None


def _blank(seed: int, path: Path, content: bytes) -> dict[str, Any]:
    return blank_part(path, content, seed)
