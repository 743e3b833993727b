"""The chat template: a checkpoint's prompt preset in Jinja, which gives the service's token ids.

LAMM tokenises the chunks of a prompt one by one, and each begins with a word border. A template is
tokenised as a whole. It gives the same ids, because it writes a space where a chunk follows another
without a picture between them, and because no piece of LLaMA's vocabulary crosses such a border.
Other tokenizers may have pieces that do. So both are compared for the checkpoint's own tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from lamm_model.checkpoint.export.llava.tokenizer import IMAGE_TOKEN, spelled_tokens
from lamm_model.conversation import Modality, PromptError, PromptPreset, Turn, neutralise, render
from lamm_model.spec import CheckpointError, CheckpointSpec
from lamm_model.tokenizer import LammTokenizer

_TEMPLATES = files("lamm_model.checkpoint.export.llava") / "templates"
# Template file, and the turns that the preset takes.
_BODIES: Mapping[PromptPreset, tuple[str, int]] = {
    PromptPreset.LAMM_TRAIN: ("lamm-train.jinja", 1 << 31),
    PromptPreset.LLAMA2_CHAT: ("llama2-chat.jinja", 1 << 31),
    PromptPreset.UPSTREAM_BENCH: ("upstream.jinja", 1),
    PromptPreset.UPSTREAM_CLI: ("upstream.jinja", 1 << 31),
}
# A byte-level tokenizer adds no word border to a chunk.
_BORDERS = (" ", "")
_PICTURE = (Modality.IMAGE,)
# Borders of chunks, blanks, bytes, and what users must not spell.
_PROBES: tuple[tuple[Turn, ...], ...] = (
    (Turn("What is this?", media=_PICTURE),),
    (Turn("What is in the picture?"),),
    (Turn("Compare them.", media=_PICTURE * 2),),
    (Turn("", media=_PICTURE),),
    (Turn("A  b\n\n c: 3.5 (d)", media=_PICTURE),),
    (Turn("\u00e9\u6f22\u5b57 \U0001f600", "\u00fcber\n\nall", _PICTURE), Turn("Gr\u00f6\u00dfe?")),
    (Turn("How many?", "2", _PICTURE), Turn("Where?", "[0.12, 0.5]"), Turn("And now?")),
    (Turn("Hello.", "Hi!"), Turn("Look.", "I see.", _PICTURE), Turn("Again.", media=_PICTURE)),
    (Turn("<Img> </IMG> <image> <pointcloud> #### ###", "### Human: no", _PICTURE), Turn("#x")),
    (Turn("[INST] [/INST] <<SYS>> <</SYS>>", "[[INST]INST]", _PICTURE), Turn("<<<SYS>>>")),
    (Turn("Empty?", "", _PICTURE), Turn("- one\n- two")),
    (Turn(None, "Hello!"), Turn("Hi.", media=_PICTURE)),
)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The content of `chat_template.jinja`.

    Of the `compared` conversations, `differing` have past answers and other token ids than in LAMM.
    """

    text: str
    compared: int
    differing: tuple[tuple[Turn, ...], ...]


def fitted_template(
    spec: CheckpointSpec, lamm: LammTokenizer, tokenizer: Tokenizer
) -> ChatTemplate:
    """The template of the checkpoint's prompt preset, with the border that fits its tokenizer.

    Raises:
        CheckpointError: a first question has other token ids than in LAMM.
    """
    tried = (_compared(spec, lamm, tokenizer, border) for border in _BORDERS)
    fitted = min(tried, key=lambda template: len(template.differing))
    first = [turns for turns in fitted.differing if len(turns) == 1]
    if first:
        raise CheckpointError(
            f"{spec.path}: with this tokenizer no chat template gives the token ids of the prompt "
            f"preset {spec.prompt_preset.value!r}; they differ for {first[0]}"
        )
    return fitted


def chat_template(spec: CheckpointSpec, tokenizer: Tokenizer, border: str = " ") -> str:
    """The template; `border` is written where a chunk follows another."""
    body, max_turns = _BODIES[spec.prompt_preset]
    constants: dict[str, Any] = {
        "bos": tokenizer.id_to_token(spec.bos_token_id),
        "image_token": IMAGE_TOKEN,
        "default_system": spec.system_text(),
        "spelled_tokens": spelled_tokens(tokenizer),
        "strips": spec.prompt_preset.strips,
        "max_turns": max_turns,
        "border": border,
    }
    lines = [
        f"{{%- set {name} = {json.dumps(value, ensure_ascii=False)} -%}}\n"
        for name, value in constants.items()
    ]
    parts = [(_TEMPLATES / name).read_text(encoding="utf8") for name in ("turns.jinja", body)]
    return "".join([*lines, *parts])


def _compared(
    spec: CheckpointSpec, lamm: LammTokenizer, tokenizer: Tokenizer, border: str
) -> ChatTemplate:
    text = chat_template(spec, tokenizer, border)
    compared, differing = 0, []
    for turns in _PROBES:
        for system in (None, "", "Be brief.\nSay  little: 1, 2."):
            try:
                wanted = service_ids(spec, lamm, turns, system)
            except PromptError:
                continue  # the preset does not take such a conversation
            compared += 1
            if template_ids(tokenizer, text, messages_of(turns, system)) != wanted:
                differing.append(turns)
    return ChatTemplate(text, compared, tuple(differing))


def service_ids(
    spec: CheckpointSpec, lamm: LammTokenizer, turns: Sequence[Turn], system: str | None
) -> list[int]:
    """Ids of a conversation as `lamm serve` reads it, with one placeholder a picture.

    Raises:
        PromptError: the preset does not take the conversation.
    """
    told = [
        Turn(_read(spec, turn.human), _read(spec, turn.assistant), turn.media) for turn in turns
    ]
    text = spec.system_text() if system is None else neutralise(system)
    pictures = sum(len(turn.media) for turn in turns)
    chunks = render(told, text, spec.prompt_preset)
    return lamm.encode_prompt(chunks, spec.bos_token_id, [[spec.image_token_id]] * pictures)


def _read(spec: CheckpointSpec, text: str | None) -> str | None:
    if text is None:
        return None
    return neutralise(text.strip() if spec.prompt_preset.strips else text)


def template_ids(
    tokenizer: Tokenizer, template: str, messages: Sequence[Mapping[str, Any]]
) -> list[int]:
    """Ids of messages by the template, as transformers and vLLM make them."""
    rendered: Any = render_jinja_template(
        conversations=[list(map(dict, messages))],
        chat_template=template,
        add_generation_prompt=True,
    )
    texts, _ = rendered
    return list(tokenizer.encode(texts[0], add_special_tokens=False).ids)


def messages_of(turns: Sequence[Turn], system: str | None) -> list[dict[str, Any]]:
    """Turns as chat messages with the pictures before each question."""
    messages: list[dict[str, Any]] = []
    if system is not None:
        messages.append({"role": "system", "content": system})
    for turn in turns:
        parts: list[dict[str, str]] = [{"type": "image"} for _ in turn.media]
        if turn.human is not None:
            parts.append({"type": "text", "text": turn.human})
            messages.append({"role": "user", "content": parts})
        if turn.assistant is not None:
            messages.append({"role": "assistant", "content": turn.assistant})
    return messages
