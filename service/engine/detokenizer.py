"""Incremental detokenization: whole characters only, and never a part of a stop string.

`IncrementalDecoder` turns ids into text, `StopMatcher` passes text on up to a stop string,
`Detokenizer` combines both for one sequence. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamm_model.tokenizer import LammTokenizer

_REPLACEMENT = "\ufffd"
# A character has at most four bytes, so at most four ids; beyond this the bytes are not UTF-8.
_MAX_HELD_IDS = 16
# How far back in a prompt a word is searched.
_MAX_PROMPT_IDS = 32


class IncrementalDecoder:
    """Decodes a growing list of ids; the pieces joined equal decoding the list at once.

    Only a short window is decoded per step. A tail that may be part of a character is held until
    the character is complete. (If ids are not valid UTF-8, text that was already returned stays.)
    After a prompt of words the text keeps its leading space, which decoding it alone would drop.
    """

    def __init__(self, tokenizer: LammTokenizer, prompt_token_ids: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = _last_word(tokenizer, prompt_token_ids)
        # ids[context:given] have been returned and are decoded again for their effect on spaces.
        self._context = 0
        self._given = len(self._ids)

    def push(self, token_id: int) -> str:
        """Text that one more id completes; may be empty."""
        self._ids.append(token_id)
        text = self._pending_text()
        # A leading space has no text by itself; a special token never has any, and keeping it would
        # let the window grow.
        if not text and not self._tokenizer.decode((token_id, token_id)):
            self._ids.pop()
            return ""
        held = len(self._ids) - self._given
        if not text or (text.endswith(_REPLACEMENT) and held < _MAX_HELD_IDS):
            return ""
        self._context, self._given = self._given, len(self._ids)
        return text

    def flush(self) -> str:
        """The text still held, with U+FFFD for an incomplete character."""
        text = self._pending_text()
        self._context = self._given = len(self._ids)
        return text

    def _pending_text(self) -> str:
        before = self._tokenizer.decode(self._ids[self._context : self._given])
        text = self._tokenizer.decode(self._ids[self._context :])
        if text.startswith(before):
            return text[len(before) :]
        # An invalid byte sequence changes the decoding of its valid beginning, which was returned
        # already.
        return self._tokenizer.decode(self._ids[self._given :])


class StopMatcher:
    """Passes text on up to the first complete stop string; holds back only possible beginnings
    of one.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str, may_stop: bool = True) -> str:
        """Text that can be shown; after a match, the text before it and then nothing.

        Args:
            may_stop: False passes everything on unread (before `min_tokens`).
        """
        if self.matched is not None:
            return ""
        text = self._held + text
        self._held = ""
        if not may_stop:
            return text
        ends = [(text.find(s) + len(s), -len(s), s) for s in self._stop if s in text]
        if ends:
            end, _, self.matched = min(ends)
            return text[: end - len(self.matched)]
        keep = max((_overlap(text, s) for s in self._stop), default=0)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """The held text, once nothing more can complete a stop string."""
        text, self._held = self._held, ""
        return text


class Detokenizer:
    """The text of one sequence's output as it grows."""

    def __init__(
        self, tokenizer: LammTokenizer, stop: Sequence[str], prompt_token_ids: Sequence[int] = ()
    ) -> None:
        self._decoder = IncrementalDecoder(tokenizer, prompt_token_ids)
        self._matcher = StopMatcher(stop)

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the text, if one did."""
        return self._matcher.matched

    def push(self, token_id: int, may_stop: bool = True) -> str:
        """Text to show for one more token."""
        return self._matcher.push(self._decoder.push(token_id), may_stop)

    def flush(self, may_stop: bool = True) -> str:
        """The rest of the text, if the sequence ends for another reason than a stop string."""
        text = self._matcher.push(self._decoder.flush(), may_stop)
        return text + self._matcher.flush()


def token_text(tokenizer: LammTokenizer, token_id: int) -> str:
    """One token's text as logprobs show it: with its leading space, bytes as `bytes:\\xNN`."""
    piece = tokenizer.id_to_piece(token_id)
    if piece is None:
        return ""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        byte = int(piece[3:5], 16)
        return chr(byte) if byte < 0x80 else f"bytes:\\x{byte:02x}"
    text = tokenizer.decode([token_id])
    return piece.replace("\u2581", " ") if piece.startswith("\u2581") else text


def _last_word(tokenizer: LammTokenizer, ids: Sequence[int]) -> list[int]:
    """The last id, if any, with a text of its own: no special token, placeholder, space or byte."""
    for token_id in reversed(ids[-_MAX_PROMPT_IDS:]):
        text = tokenizer.decode([token_id])
        if text and _REPLACEMENT not in text:
            return [token_id]
    return []


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that `text` ends with."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
