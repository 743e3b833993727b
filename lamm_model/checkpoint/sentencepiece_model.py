"""LLaMA's `tokenizer.model` (sentencepiece, BPE) -> the text of a `tokenizer.json`.

The file is a protocol buffer. Only the required fields are parsed, so neither sentencepiece nor
protobuf is needed. Language models of 2023 have no `tokenizer.json`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_model.spec import CheckpointError

_BPE = 2
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_BORDER = "\u2581"


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    score: float
    kind: int


def tokenizer_json(path: Path) -> str:
    """The text of a `tokenizer.json`; every text gets a leading word border.

    Raises:
        CheckpointError: the file is truncated, or not a BPE model.
    """
    try:
        pieces, model_type = _read(path.read_bytes())
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path}: not a sentencepiece model: {error}") from error
    if model_type != _BPE or not pieces:
        raise CheckpointError(
            f"{path}: the sentencepiece model has type {model_type} and {len(pieces)} pieces; "
            f"expected type {_BPE} (BPE)"
        )
    vocab = {piece.text: number for number, piece in enumerate(pieces)}
    if len(vocab) != len(pieces):
        raise CheckpointError(f"{path}: {len(pieces) - len(vocab)} pieces occur twice")
    unknown = [p.text for p in pieces if p.kind == _UNKNOWN]
    if len(unknown) != 1:
        raise CheckpointError(f"{path}: {len(unknown)} unknown pieces; expected 1")
    return json.dumps(_document(pieces, vocab, unknown[0]), ensure_ascii=False)


def _document(pieces: list[_Piece], vocab: dict[str, int], unknown: str) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": piece.text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, piece in enumerate(pieces)
            if piece.kind in (_UNKNOWN, _CONTROL)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": _BORDER},
                {"type": "Replace", "pattern": {"String": " "}, "content": _BORDER},
            ],
        },
        "pre_tokenizer": None,
        # `LammTokenizer.encode_prompt` adds BOS, not the tokenizer.
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _BORDER}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(piece.kind == _BYTE for piece in pieces),
            "vocab": vocab,
            "merges": _merges(pieces, vocab),
        },
    }


def _merges(pieces: list[_Piece], vocab: dict[str, int]) -> list[list[str]]:
    # sentencepiece merges the pair with the best score; `tokenizers` expects ordered pairs.
    ranked: list[tuple[float, int, int, list[str]]] = []
    for piece in pieces:
        if piece.kind not in (_NORMAL, _USER_DEFINED):
            continue
        for cut in range(1, len(piece.text)):
            left, right = piece.text[:cut], piece.text[cut:]
            if left in vocab and right in vocab:
                ranked.append((-piece.score, vocab[left], vocab[right], [left, right]))
    ranked.sort(key=lambda entry: entry[:3])
    return [pair for *_, pair in ranked]


def _read(data: bytes) -> tuple[list[_Piece], int]:
    pieces: list[_Piece] = []
    model_type = 1  # the format's default: unigram
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            text, score, kind = "", 0.0, _NORMAL
            for inner, part in _fields(value):
                if inner == 1 and isinstance(part, bytes):
                    text = part.decode("utf8")
                elif inner == 2 and isinstance(part, float):
                    score = part
                elif inner == 3 and isinstance(part, int):
                    kind = part
            pieces.append(_Piece(text, score, kind))
        elif field == 2 and isinstance(value, bytes):
            model_type = next(
                (v for f, v in _fields(value) if f == 3 and isinstance(v, int)), model_type
            )
    return pieces, model_type


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(field number, value) of one protobuf message; 32-bit values are read as floats."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(data):
            raise ValueError(f"truncated at byte {at}")
        raw = data[at : at + size]
        at += size
        yield key >> 3, struct.unpack("<f", raw)[0] if wire == 5 else raw


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"number too long at byte {at}")
