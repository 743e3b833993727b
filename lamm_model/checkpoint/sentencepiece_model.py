"""LLaMA's `tokenizer.model` (sentencepiece, BPE) -> the text of a `tokenizer.json`.

Language models of 2023 have no `tokenizer.json`. transformers has the file's protobuf schema, so
that sentencepiece is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from transformers.convert_slow_tokenizer import import_protobuf

from lamm_model.spec import CheckpointError

_BPE = 2
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_BORDER = "\u2581"


def tokenizer_json(path: Path) -> str:
    """The text of a `tokenizer.json`; every text gets a leading word border.

    Raises:
        CheckpointError: the file is truncated, or not a BPE model.
    """
    try:
        model = import_protobuf().ModelProto.FromString(path.read_bytes())
        pieces, model_type = model.pieces, model.trainer_spec.model_type
        vocab = {piece.piece: number for number, piece in enumerate(pieces)}
        "".join(vocab)  # protobuf leaves a text that is not UTF-8 as bytes
    except (OSError, ValueError, TypeError, DecodeError) as error:
        raise CheckpointError(f"{path}: not a sentencepiece model: {error}") from error
    if model_type != _BPE or not pieces:
        raise CheckpointError(
            f"{path}: the sentencepiece model has type {model_type} and {len(pieces)} pieces; "
            f"expected type {_BPE} (BPE)"
        )
    if len(vocab) != len(pieces):
        raise CheckpointError(f"{path}: {len(pieces) - len(vocab)} pieces occur twice")
    unknown = [p.piece for p in pieces if p.type == _UNKNOWN]
    if len(unknown) != 1:
        raise CheckpointError(f"{path}: {len(unknown)} unknown pieces; expected 1")
    return json.dumps(_document(pieces, vocab, unknown[0]), ensure_ascii=False)


def _document(pieces: Sequence[Any], vocab: dict[str, int], unknown: str) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": piece.piece,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, piece in enumerate(pieces)
            if piece.type in (_UNKNOWN, _CONTROL)
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
            "byte_fallback": any(piece.type == _BYTE for piece in pieces),
            "vocab": vocab,
            "merges": _merges(pieces, vocab),
        },
    }


def _merges(pieces: Sequence[Any], vocab: dict[str, int]) -> list[list[str]]:
    # sentencepiece merges the pair with the best score; `tokenizers` expects ordered pairs.
    ranked: list[tuple[float, int, int, list[str]]] = []
    for piece in pieces:
        if piece.type not in (_NORMAL, _USER_DEFINED):
            continue
        for cut in range(1, len(piece.piece)):
            left, right = piece.piece[:cut], piece.piece[cut:]
            if left in vocab and right in vocab:
                ranked.append((-piece.score, vocab[left], vocab[right], [left, right]))
    ranked.sort(key=lambda entry: entry[:3])
    return [pair for *_, pair in ranked]
