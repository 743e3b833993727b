"""What a client is told of messages that do not fit the context: the numbers and the limit.

Called by `input_processor`.
"""

from __future__ import annotations

from collections.abc import Mapping

from lamm_model.conversation import Modality
from service.exceptions import ContextLengthError


def too_many_characters(
    characters: int, longest_piece: int, media: Mapping[Modality, int], files: int, limit: int
) -> ContextLengthError:
    """No tokenizer could fit the texts, so none was asked.

    Args:
        characters: of all texts.
        longest_piece: characters of the longest token.
        media: tokens of the pictures and clouds.
        files: stored files, of which none was looked up.
        limit: tokens of the context.
    """
    text = -(-characters // longest_piece)
    besides = f", and those of {files} files" if files else ""
    return ContextLengthError(
        f"the messages have {characters} characters, more than the context can hold: at least "
        f"{text} text tokens ({longest_piece} characters a token at most), "
        f"{media[Modality.IMAGE]} image, {media[Modality.POINT_CLOUD]} point cloud{besides}; "
        f"the context limit is {limit}"
    )


def no_room(
    tokens: int, media: Mapping[Modality, int], asked: int | None, limit: int
) -> ContextLengthError:
    """The prompt leaves less room than its answer needs.

    Args:
        tokens: of the whole prompt.
        media: those of its pictures and clouds.
        asked: `max_tokens`, where it is given.
        limit: tokens of the context.
    """
    images, clouds = media[Modality.IMAGE], media[Modality.POINT_CLOUD]
    answer = f" and max_tokens asks for {asked} more" if asked else " and the answer needs room"
    return ContextLengthError(
        f"the prompt has {tokens} tokens ({tokens - images - clouds} text, {images} image, "
        f"{clouds} point cloud){answer}; the context limit is {limit}"
    )
