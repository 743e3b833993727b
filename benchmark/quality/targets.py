"""The server under test: a LAMM service, or any other server with OpenAI's chat API.

A target turns a question into a request and a response into text. The conditions of an answer
besides the weights (`conditions`) and the questions that a server cannot answer (`refusal`) are
pure functions, so that stored answers are found without a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.content import MediaCache, encode_chat, is_cloud
from benchmark.errors import BenchmarkError
from benchmark.http.chat_answers import Usage, read_completion
from benchmark.http.client import CHAT_PATH, Backend, ChatClient
from benchmark.quality import chef_prompts
from benchmark.quality.chef_target import (
    LIKELIHOODS_PATH,
    encode_likelihoods,
    read_likelihoods,
    whole_prompt,
)
from benchmark.quality.controls import Control, Question, seed_of
from benchmark.quality.controls_media import blank_part
from benchmark.quality.identity import Mode, ModelIdentity
from benchmark.quality.likelihood_target import Ranking, can_be_ranked, encode_ranking, read_ranking
from benchmark.quality.task_target import encode_task, read_task, task_inputs, task_path
from benchmark.suite import Item
from lamm_model.tasks.upstream import keeps_its_spelling

# `ModelIdentity.backend` of answers that were read from files.
ANSWER_FILES = "answer-files"
# A control that sends something else gets a new version, so that old answers are not reused.
_CONTROL_VERSIONS = {Control.BLANK_MEDIA: "blank-media/2"}


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
        """The answer to a question: greedy, or as its recipe says.

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
        if asks_as_chef(question, self._mode):
            return LIKELIHOODS_PATH
        return task_path(question.item) if asks_task(question, self._mode) else CHAT_PATH

    def body(self, question: Question) -> bytes:
        """The JSON body for a question.

        Raises:
            BenchmarkError: the medium cannot be sent.
            OSError: the medium cannot be read.
        """
        item, part = question.item, self._part(question)
        if asks_as_chef(question, self._mode):
            parts = [*self._example_parts(question), *([] if part is None else [part])]
            return encode_likelihoods(item, question.examples, parts, self.identity.model)
        if asks_task(question, self._mode):
            if part is None:
                raise BenchmarkError("a question without media cannot be asked of a task's route")
            if self._mode is Mode.LIKELIHOOD:
                return encode_ranking(item, part, self.identity.model)
            limit = self.identity.max_tokens
            return encode_task(item, part, self.identity.model, max_tokens=limit)
        asked = question.asked
        given = parameters(item, self.identity) if asked is None else asked.fields()
        fields = {"model": self.identity.model, "stream": False, **given}
        later = () if asked is None else asked.later_messages()
        return encode_chat(question.text, part, fields, later)

    def read(self, question: Question, content: bytes) -> Reply:
        """Parses the body of an answer.

        Raises:
            RequestFailedError: malformed answer.
            ModelChangedError: the answer comes from other weights.
        """
        if asks_as_chef(question, self._mode):
            return self._ranked(read_likelihoods(question.item, content))
        if asks_task(question, self._mode):
            if self._mode is Mode.LIKELIHOOD:
                return self._ranked(read_ranking(question.item, content))
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

    def _example_parts(self, question: Question) -> list[bytes]:
        """The media of the examples; none if the question itself is asked without."""
        if question.item.media is None:
            return []
        paths = [example.media for example in question.examples]
        return [self._media.part(path) for path in paths if path is not None]

    def _ranked(self, ranking: Ranking) -> Reply:
        self._check(ranking.fingerprint)
        return Reply(ranking.text, ranking.finish_reason, ranking.usage, ranking.options)

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


def parameters(item: Item, identity: ModelIdentity) -> dict[str, Any]:
    """Sampling parameters of an item: greedy, with the token limit of the run or of its task."""
    return {"temperature": 0, "max_tokens": identity.max_tokens or item.task.max_tokens}


def conditions(question: Question, identity: ModelIdentity) -> dict[str, Any]:
    """The parameters on which an answer depends besides question and weights."""
    asked, mode = question.asked, Mode(identity.mode)
    found: dict[str, Any] = (
        parameters(question.item, identity) if asked is None else asked.conditions()
    )
    if question.text != question.item.sample.question:
        found["question"] = question.text
    if asks_task(question, mode):
        found = {"mode": mode.value, "inputs": task_inputs(question.item)}
        if mode is Mode.TASK and identity.max_tokens is not None:
            found["max_tokens"] = identity.max_tokens
    if asks_as_chef(question, mode):
        found = {
            "mode": mode.value,
            "prompt": whole_prompt(question.item, question.examples),
            "prefix": chef_prompts.prefix(question.item),
            "continuations": chef_prompts.option_texts(question.item),
        }
    if question.control is not None:
        found["control"] = _CONTROL_VERSIONS.get(question.control, question.control.value)
    return found


def asks_task(question: Question, mode: Mode) -> bool:
    """Whether a question is asked at its task's route: all, or those whose options are ranked.

    /v1/tasks needs a medium, so the text-only control is not asked there (see `refusal`).
    """
    return mode is Mode.TASK or (mode is Mode.LIKELIHOOD and can_be_ranked(question.item))


def asks_as_chef(question: Question, mode: Mode) -> bool:
    """Whether the options of a question are ranked as ChEF ranks them."""
    return mode is Mode.CHEF and chef_prompts.is_ranked(question.item)


def refusal(question: Question, identity: ModelIdentity) -> str | None:
    """The reason why the server cannot answer a question, or None."""
    item = question.item
    is_chat = identity.backend == Backend.OPENAI_CHAT
    if is_chat and item.media is not None and is_cloud(item.media):
        return f"not asked: --backend {identity.backend} cannot send point clouds"
    if item.media is None and asks_task(question, Mode(identity.mode)):
        return f"not asked: --mode {identity.mode} needs a medium"
    if question.asked is not None and not keeps_its_spelling(question.text):
        return "not asked: it spells a tag or marks, which the server breaks up"
    return None


def _blank(seed: int, path: Path, content: bytes) -> dict[str, Any]:
    return blank_part(path, content, seed)
