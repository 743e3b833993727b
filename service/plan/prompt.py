"""Messages become a prompt: turns, token ids, and the positions of the media in them.

Everything cheap is checked before any medium is fetched or decoded: the number of media, the
checkpoint's modalities and the context limit, since a medium's tokens are known in advance.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lamm_model.conversation import Modality, Turn, neutralise, render
from lamm_model.spec import CheckpointSpec
from lamm_model.system_texts import NORMAL_TASK
from lamm_model.tasks import TASKS
from lamm_model.tokenizer import LammTokenizer
from service.exceptions import ContextLengthError, RequestError
from service.media.item import MediaItem
from service.media.sources import MediaAccess
from service.plan.messages import count_characters, count_media, read_messages
from service.plan.sampling import SequenceLimits
from service.plan.turns import Conversation
from service.schemas.messages import ChatMessage


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Limits per request: tokens, media, bytes per medium, and answers."""

    max_model_len: int
    default_max_tokens: int
    max_media_items: int
    max_media_bytes: int
    sequences: SequenceLimits


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids; `offsets` are the positions of each medium's first placeholder.

    `media_tokens` is the number of placeholders per modality.
    """

    ids: tuple[int, ...]
    offsets: tuple[int, ...]
    media_tokens: dict[Modality, int]


class PromptReader:
    """Reads the prompts of one model."""

    def __init__(
        self, spec: CheckpointSpec, tokenizer: LammTokenizer, model_name: str, limits: InputLimits
    ) -> None:
        self.spec, self.tokenizer, self.limits = spec, tokenizer, limits
        self._model_name = model_name

    def check_size(self, messages: Sequence[ChatMessage]) -> None:
        """Refuses what cannot fit the context, before texts or media are read.

        Raises:
            ContextLengthError: the texts are longer than the context's tokens can spell.
            RequestError: there are too many media.
        """
        characters, media = count_characters(messages), count_media(messages)
        if characters > self.limits.max_model_len * self.tokenizer.longest_piece:
            raise self._too_many_characters(characters, media)
        items = media.total()
        if items > self.limits.max_media_items:
            raise RequestError(
                f"the request has {items} pictures and clouds; "
                f"the limit is {self.limits.max_media_items}",
                param="messages",
                code="too_many_media",
            )

    def read(
        self,
        messages: Sequence[ChatMessage],
        access: MediaAccess,
        *,
        task: str | None = None,
        continues: bool = False,
    ) -> tuple[Conversation, Prompt, float]:
        """The conversation, its prompt, and the seconds that looking up its media took.

        `task` chooses the system text where the messages have none. With `continues`, the last
        message is an answer that the model goes on with. Blocks for the disk if media are stored
        files.

        Raises:
            RequestError, MediaRefusedError: as `read_messages`, or the model does not accept a
                modality.
            PromptError: the checkpoint's prompt preset cannot express the conversation.
        """
        started = time.perf_counter()
        conversation = read_messages(
            messages,
            self.limits.max_media_bytes,
            access,
            strips=self.spec.prompt_preset.strips,
            continues=continues,
        )
        read_s = time.perf_counter() - started
        self._check_media(conversation.media)
        if task is not None:
            self._check_task(task, conversation.system)
        return conversation, self._tokenize(conversation, task or NORMAL_TASK), read_s

    def _check_media(self, media: Sequence[MediaItem]) -> None:
        for item in media:
            if item.modality not in self.spec.modalities:
                known = ", ".join(["text", *self.spec.modalities])
                raise RequestError(
                    f"model {self._model_name!r} does not accept {item.modality}; it accepts "
                    f"{known}",
                    param=item.param,
                    code="unsupported_modality",
                )

    def _check_task(self, task: str, system: str | None) -> None:
        known = dict.fromkeys((*TASKS, *self.spec.system_prompts))
        if task not in known:
            raise RequestError(
                f"task {task!r} is unknown to model {self._model_name!r}; it knows "
                f"{', '.join(known)}",
                param="task",
            )
        if system is not None:
            raise RequestError(
                f"task is {task!r}, which chooses the system text, but a message has a system "
                "text as well; send one of the two",
                param="task",
            )

    def _tokenize(self, conversation: Conversation, task: str) -> Prompt:
        """Token ids of the prompt, with each medium's placeholders."""
        system = conversation.system
        system = self.spec.system_text(task) if system is None else neutralise(system)
        placeholders = [self.spec.placeholder(item.modality) for item in conversation.media]
        ids = self.tokenizer.encode_prompt(
            render(
                conversation.turns,
                system,
                self.spec.prompt_preset,
                continues=conversation.continues,
            ),
            self.spec.bos_token_id,
            [[token] * count for token, count in placeholders],
        )
        offsets: list[int] = []
        position = 0
        tokens = dict.fromkeys(Modality, 0)
        for item, (token, count) in zip(conversation.media, placeholders, strict=True):
            # No text encodes to a placeholder's id, so the next one is this medium's.
            position = ids.index(token, position)
            offsets.append(position)
            position += count
            tokens[item.modality] += count
        return Prompt(tuple(ids), tuple(offsets), tokens)

    def _too_many_characters(
        self, characters: int, media: Mapping[Modality | None, int]
    ) -> ContextLengthError:
        spec, longest_piece = self.spec, self.tokenizer.longest_piece
        tokens = {
            kind: media[kind] * spec.placeholder(kind)[1] if kind in spec.modalities else 0
            for kind in Modality
        }
        # Stored files have not been looked up yet.
        besides = f", and those of {media[None]} files" if media[None] else ""
        return ContextLengthError(
            f"the messages have {characters} characters, more than the context can hold: at least "
            f"{-(-characters // longest_piece)} text tokens (at most {longest_piece} characters "
            f"per token), {tokens[Modality.IMAGE]} image, {tokens[Modality.POINT_CLOUD]} point "
            f"cloud{besides}; this model's maximum context length is "
            f"{self.limits.max_model_len} tokens"
        )


@dataclass(frozen=True, slots=True)
class PromptIdentity:
    """A prompt preset's name, and a digest of everything that it adds to a question.

    `system_texts` are the first 16 digits of the SHA-256 of each system text, by the `task` that
    chooses it. Tasks that are not in it have the text of `normal`.
    """

    name: str
    digest: str
    system_texts: Mapping[str, str]


def prompt_identity(spec: CheckpointSpec) -> PromptIdentity:
    """The prompt preset of a checkpoint as it is served.

    The digest covers a question about each modality as the preset formats it, the stop rule, and
    the system prompts. So it changes with a prompt pack, and with a change of a preset in this
    code.
    """
    questions = [
        [asdict(chunk) for chunk in render([turn], spec.system_text(), spec.prompt_preset)]
        for turn in (Turn("question", None, (modality,)) for modality in Modality)
    ]
    texts = spec.system_texts(TASKS)
    told = [questions, asdict(spec.stop_rule), sorted(texts.items())]
    digests = {task: _digest(text) for task, text in sorted(texts.items())}
    return PromptIdentity(spec.prompt_preset.value, _digest(json.dumps(told)), digests)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
