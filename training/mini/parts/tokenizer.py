"""lamm-mini's tokenizer: LLaMA's scheme (word border piece, byte fallback), a thousand pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

BORDER = "▁"
_SPECIAL = ("<unk>", "<s>", "</s>")
# Digits and capitals in a row are split, so that numbers and words in capitals are spelled. A
# coordinate from 0 to 1 is one piece, and so are hundredths of metres: a small model reads one
# piece more reliably than a sequence of digits.
_SPLIT = (
    r"▁?0\.[0-9][0-9](?![0-9])|\.[0-9][0-9](?![0-9])|▁?0\.|▁?[0-9]|▁?[A-Z](?=[A-Z]|[^A-Za-z\-]|$)|▁?[A-Za-z][a-z']*(?:-[a-z]+)*"
    r"|\n?#+|▁?</?[A-Z][a-z]+>|▁?[^A-Za-z0-9]"
)
_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": BORDER}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",  # nosec B105 # a token of text, as the next two
    "eos_token": "</s>",  # nosec B105
    "unk_token": "<unk>",  # nosec B105
    "model_max_length": 1024,
    "clean_up_tokenization_spaces": False,
}


def train_tokenizer(
    texts: Iterable[str], must_have: Iterable[str], vocab_size: int, directory: Path
) -> Tokenizer:
    """Trains on `texts`, writes `tokenizer.json` and `tokenizer_config.json`; returns it.

    Raises:
        ValueError: a word of `must_have` is more than one piece.
    """
    directory.mkdir(parents=True, exist_ok=True)
    raw = Tokenizer(models.BPE(unk_token=_SPECIAL[0]))
    raw.normalizer = normalizers.Sequence(
        [normalizers.Prepend(BORDER), normalizers.Replace(" ", BORDER)]
    )
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        show_progress=False,
        min_frequency=2,
        initial_alphabet=[chr(c) for c in range(32, 127)] + [BORDER, "\n"],
    )
    raw.train_from_iterator(texts, trainer)
    value = json.loads(raw.to_str())
    _add_bytes(value["model"])
    value["decoder"] = _DECODER
    for token in value["added_tokens"]:
        token["normalized"] = False
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf8")
    config = json.dumps(_CONFIG, indent=2)
    (directory / "tokenizer_config.json").write_text(config, encoding="utf8")
    tokenizer = Tokenizer.from_file(str(path))
    for word in must_have:
        pieces = tokenizer.encode(word, add_special_tokens=False).tokens
        if len(pieces) != 1:
            raise ValueError(f"{word!r} is {len(pieces)} pieces {pieces}; it must be one")
    return tokenizer


def _add_bytes(model: dict[str, object]) -> None:
    # LLaMA's layout: special tokens, the 256 bytes, then the rest.
    vocab = model["vocab"]
    assert isinstance(vocab, dict)
    pieces = [p for p, _ in sorted(vocab.items(), key=lambda item: item[1]) if p not in _SPECIAL]
    ordered = [*_SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), *pieces]
    model["vocab"] = {piece: number for number, piece in enumerate(ordered)}
    model["byte_fallback"] = True
    model["fuse_unk"] = True
