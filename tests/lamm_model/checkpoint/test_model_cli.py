"""`lamm model convert | merge | inspect | import-prompts` as a user meets them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from tokenizers import Tokenizer

from lamm_model.checkpoint import convert
from lamm_model.checkpoint.adapters import trained
from lamm_model.checkpoint.cli import model
from lamm_model.checkpoint.sentencepiece_model import tokenizer_json
from lamm_model.checkpoint.serving_memory import GIB, serving_memory
from lamm_model.spec import CheckpointError, CheckpointSpec
from service.engine.config import EngineConfig, EngineConfigError
from service.engine.kv.plan import plan_kv_cache


def test_convert_inspect_merge_inspect(
    upstream: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lamm"
    command = ["convert", "--delta", upstream.image_delta, "--llm", upstream.llm]
    command += ["--vision", upstream.clip, "--out", out]
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert f"next: lamm model merge --base {out}/base --adapter {out}/adapter" in said
    assert run(*command) == 1
    assert "lamm already exists" in capsys.readouterr().err
    assert run("inspect", out) == 0
    said = capsys.readouterr().out
    for text in ("unmerged", "r 4, alpha 32", "image_projector", "not merged", "CC BY-NC 4.0"):
        assert text in said
    merged = tmp_path / "merged"
    assert run("merge", "--base", out / "base", "--adapter", out / "adapter", "--out", merged) == 0
    capsys.readouterr()
    assert run("inspect", merged, "--gpu-memory", "1", "--context", "512", "--verify") == 0
    said = capsys.readouterr().out
    assert CheckpointSpec.from_pretrained(merged).digest in said
    assert "requests of 512 tokens in 1 GiB" in said
    assert "CC BY-NC 4.0" in said  # what is merged keeps the licence of what it was merged from
    assert "1 files match manifest.json" in said
    file = merged / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert run("inspect", merged, "--verify") == 1
    assert "manifest.json has" in capsys.readouterr().err


@pytest.mark.parametrize("alpha", ["0", "-32", "nan", "inf"])
def test_an_alpha_that_would_drop_the_lora(
    upstream: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], alpha: str
) -> None:
    command = ["convert", "--delta", upstream.image_delta, "--llm", upstream.llm, "--lora-alpha"]
    with pytest.raises(SystemExit):
        run(*command, alpha, "--vision", upstream.clip, "--out", tmp_path / "lamm")
    assert f"{alpha} is not a positive number" in capsys.readouterr().err


def test_a_disk_that_fills_up_behind_the_weights(
    upstream: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed: list[int] = []

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(convert, "check_disk", lambda _, size: needed.append(size))
    monkeypatch.setattr(trained, "save_file", full)
    command = ["convert", "--delta", upstream.image_delta, "--llm", upstream.llm]
    command += ["--vision", upstream.clip, "--out", tmp_path / "lamm"]
    assert run(*command) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "lamm").exists()
    monkeypatch.undo()
    monkeypatch.setattr(convert, "check_disk", lambda _, size: needed.append(size))
    assert run(*command, "--merge", "--force") == 0
    # The LoRA stands beside the weights, or in them: 2 layers, 4 targets, A and B of 4 x 64.
    assert needed[0] - needed[1] == 2 * 4 * 2 * 4 * 64 * 2


def test_inspect_tells_files_apart(
    upstream: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, texts in (
        (upstream.image_delta, ("LAMM delta", "r 4", "2 layers of 64", "float16")),
        (upstream.clip, ("CLIP, OpenAI names", "28 x 28 pixels -> 4 tokens")),
        (upstream.epcl, ("EPCL, hierarchical", "8 tokens, 19 task tokens")),
        (upstream.llm, ("language model (LLaMA)", "possible; sizes and name agree")),
    ):
        assert run("inspect", path) == 0
        said = capsys.readouterr().out
        for text in texts:
            assert text in said
    (tmp_path / "rubbish.pt").write_bytes(b"rubbish")
    assert run("inspect", tmp_path / "rubbish.pt") == 1
    assert run("inspect", tmp_path / "nowhere") == 1
    assert "file or directory not found" in capsys.readouterr().err


def test_memory_of_7b() -> None:
    text = {"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}
    entries = {e.dtype: e for e in serving_memory(7_042_005_376, text)}
    assert set(entries) == {"float32", "float16", "bfloat16"}  # what the engine loads
    assert entries["float16"].kv_bytes_per_token == 512 * 1024
    assert entries["float32"].kv_bytes_per_token == 1024 * 1024
    assert 13.0 < entries["float16"].weights_bytes / GIB < 13.2
    # (24 - 13.1) x 0.8 x 0.75 GiB hold six contexts of 1 GiB; 8 GiB do not even hold the weights.
    assert entries["float16"].requests(24 * GIB, 2048) == 6
    assert entries["float16"].requests(8 * GIB, 2048) == 0


@pytest.mark.parametrize("gib", [15, 16, 24, 40, 80, 141])
@pytest.mark.parametrize("context", [100, 512, 2048, 4096])
def test_the_estimate_is_the_engine_s_own_plan(gib: int, context: int) -> None:
    text = {"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}
    [entry] = [e for e in serving_memory(7_042_005_376, text) if e.dtype == "bfloat16"]
    config = EngineConfig(
        max_num_seqs=100_000, max_num_batched_tokens=100_000, max_model_len=context
    )
    free = gib * GIB - entry.weights_bytes
    try:
        plan = plan_kv_cache(config, 4096, entry.kv_bytes_per_token, free, preallocated=True)
    except EngineConfigError:
        assert entry.requests(gib * GIB, context) == 0
    else:
        assert entry.requests(gib * GIB, context) == plan.num_slots


def test_import_prompts_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import-prompts", tmp_path / "nowhere", "--out", tmp_path / "pack.json") == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "pack.json").exists()


def run(*arguments: object) -> int:
    return model([str(argument) for argument in arguments])


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def sentencepiece_file(path: Path, model_type: int = 2) -> Path:
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(f"<0x{n:02X}>", 0.0, 6) for n in range(256)]
    pieces += [
        (t, -float(i), 1) for i, t in enumerate(["th", "\u2581th", "the", "\u2581the", "he"])
    ]
    pieces += [(t, -100.0, 1) for t in "\u2581the"]
    data = b""
    for text, score, kind in pieces:
        inner = (
            field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind)
        )
        data += field(1, inner)
    data += field(2, b"\x18" + varint(model_type))
    path.write_bytes(data)
    return path


def test_a_sentencepiece_model_becomes_a_fast_tokenizer(tmp_path: Path) -> None:
    path = sentencepiece_file(tmp_path / "tokenizer.model")
    tokenizer = Tokenizer.from_str(tokenizer_json(path))
    assert tokenizer.encode("the", add_special_tokens=False).tokens == ["\u2581the"]
    assert tokenizer.encode("he the", add_special_tokens=False).tokens == [
        "\u2581",
        "he",
        "\u2581the",
    ]
    ids = tokenizer.encode("the \u00e9\n", add_special_tokens=False).ids
    assert tokenizer.decode(ids) == "the \u00e9\n"
    assert (tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")) == (1, 2)


@pytest.mark.parametrize("kind", ["unigram", "torn", "rubbish"])
def test_what_is_no_llama_tokenizer(tmp_path: Path, kind: str) -> None:
    path = sentencepiece_file(tmp_path / "tokenizer.model", 1 if kind == "unigram" else 2)
    if kind == "torn":
        path.write_bytes(path.read_bytes()[:500])
    elif kind == "rubbish":
        path.write_bytes(b"\xff" * 40)
    with pytest.raises(CheckpointError, match="sentencepiece model"):
        tokenizer_json(path)
