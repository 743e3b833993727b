"""`tokenizer.json` and `tokenizer_config.json`: LAMM's tokenizer with the placeholder."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Tokenizer

from lamm_model.spec import CheckpointError, CheckpointSpec
from lamm_model.tokenizer import LammTokenizer

IMAGE_TOKEN = "<image>"  # noqa: S105 # nosec B105 # no password
_UNUSED = "<lamm_unused_"


def pieces_of(tokenizer: LammTokenizer) -> dict[str, int]:
    """Ids by piece; of pieces with the same text, the first."""
    found: dict[str, int] = {}
    for token_id in range(tokenizer.vocab_size):
        piece = tokenizer.id_to_piece(token_id)
        if piece is not None:
            found.setdefault(piece, token_id)
    return found


def llava_tokenizer(tokenizer: LammTokenizer, image_token_id: int) -> Tokenizer:
    """The tokenizer with `<image>` at `image_token_id`.

    A tokenizer gives new tokens the next ids, so free ids below the placeholder get names too.

    Raises:
        CheckpointError: the tokenizer has a token `<image>`, or one with the placeholder's id.
    """
    value = Tokenizer.from_str(tokenizer.to_json())
    if value.token_to_id(IMAGE_TOKEN) is not None:
        raise CheckpointError(
            f"tokenizer.json has a token {IMAGE_TOKEN} with id {value.token_to_id(IMAGE_TOKEN)}; "
            "LLaVA's placeholder needs that name"
        )
    size = value.get_vocab_size()
    if size > image_token_id:
        raise CheckpointError(
            f"tokenizer.json has {size} tokens; expected at most {image_token_id}, the "
            "placeholder's id"
        )
    names = [*(f"{_UNUSED}{number}>" for number in range(size, image_token_id)), IMAGE_TOKEN]
    value.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    if value.token_to_id(IMAGE_TOKEN) != image_token_id:
        raise CheckpointError(
            f"tokenizer.json: {IMAGE_TOKEN} gets id {value.token_to_id(IMAGE_TOKEN)}; expected "
            f"{image_token_id}; the ids of its {size} tokens have gaps"
        )
    return value


def spelled_tokens(tokenizer: Tokenizer) -> list[str]:
    """Tokens that a text can spell, the longest first, without the placeholder.

    Those for free ids are one entry, their common beginning.
    """
    added = {str(token.content) for token in tokenizer.get_added_tokens_decoder().values()}
    short = {_UNUSED if content.startswith(_UNUSED) else content for content in added}
    return sorted(short - {IMAGE_TOKEN}, key=lambda content: (-len(content), content))


def tokenizer_config(tokenizer: Tokenizer, spec: CheckpointSpec, pad: int) -> dict[str, Any]:
    """The content of `tokenizer_config.json`."""
    special: dict[str, str | None] = {
        "bos_token": tokenizer.id_to_token(spec.bos_token_id),
        "eos_token": tokenizer.id_to_token((*spec.eos_token_ids, pad)[0]),
        "pad_token": tokenizer.id_to_token(pad),
        "unk_token": json.loads(tokenizer.to_str())["model"].get("unk_token"),
    }
    return {
        # The class that reads tokenizer.json as it is; LLaMA's own would build another one.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: token for name, token in special.items() if token is not None},
        "extra_special_tokens": {"image_token": IMAGE_TOKEN},
        "model_max_length": spec.max_model_len,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }
