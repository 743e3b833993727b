"""What an export writes, refuses and resumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import GenerationConfig

from lamm_model.checkpoint import shards
from lamm_model.checkpoint.workspace import verify_manifest
from lamm_model.spec import CheckpointError, CheckpointSpec, weights_digest
from tests.lamm_model.checkpoint.export.conftest import Export, write_tiny


def copy(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
    return value


def test_the_directory_says_what_it_is(tiny: Path, export: Export, tmp_path: Path) -> None:
    out = tmp_path / "llava"
    (source := copy(tiny, tmp_path / "lamm")).joinpath("LICENSE").write_text("Ours.")
    result = export(source, out, dtype="bfloat16")
    assert result.dtype == "bfloat16"
    assert result.digest == weights_digest(out) == read(out / "provenance.json")["digest"]
    assert verify_manifest(out) == 1
    origin = read(out / "provenance.json")["source"]
    assert origin == {"checkpoint": CheckpointSpec.from_pretrained(source).digest}
    assert (out / "LICENSE").read_text() == "Ours."
    assert "see LICENSE in the directory" in (out / "README.md").read_text()
    with safe_open(out / "model.safetensors", framework="pt") as weights:
        names = set(weights.keys())
        assert {weights.get_slice(name).get_dtype() for name in names} == {"BF16"}
    # The hub's names, which servers and converters expect.
    assert {
        "language_model.lm_head.weight",
        "language_model.model.layers.1.self_attn.q_proj.weight",
        "multi_modal_projector.linear_2.bias",
        "vision_tower.vision_model.embeddings.class_embedding",
    } <= names
    assert not list(tmp_path.glob(".*"))


def test_the_cloud_part_is_named_as_left_out(tiny: Path, export: Export, tmp_path: Path) -> None:
    result = export(tiny, tmp_path / "llava")
    assert any("point encoder and its projector are left out" in note for note in result.notes)
    assert "The point encoder and its projector are left out" in (
        (tmp_path / "llava/README.md").read_text()
    )
    assert not [n for n in load_file(tmp_path / "llava/model.safetensors") if "point" in n]


def test_a_picture_checkpoint_leaves_nothing_out(export: Export, tmp_path: Path) -> None:
    write_tiny(tmp_path / "lamm", lambda config: _without(config, "point_config"))
    assert not any("left out" in note for note in export(tmp_path / "lamm", tmp_path / "o").notes)


def test_a_cloud_checkpoint_is_refused(export: Export, tmp_path: Path) -> None:
    write_tiny(tmp_path / "lamm", lambda config: _without(config, "vision_config"))
    with pytest.raises(CheckpointError, match="has no image encoder, and LLaVA no point encoder"):
        export(tmp_path / "lamm", tmp_path / "llava")
    assert [path.name for path in tmp_path.iterdir()] == ["lamm"]


def test_answers_end_and_are_greedy(tiny: Path, export: Export, tmp_path: Path) -> None:
    for target in ("transformers", "vllm"):
        export(tiny, tmp_path / target, target)
        config = GenerationConfig.from_pretrained(tmp_path / target)
        assert not config.do_sample
        assert 2 in config.eos_token_id
    # vLLM samples unless a temperature says otherwise; transformers rejects one of 0.
    assert read(tmp_path / "vllm/generation_config.json")["temperature"] == 0.0
    assert "temperature" not in read(tmp_path / "transformers/generation_config.json")
    rows = read(tmp_path / "vllm/config.json")["text_config"]["vocab_size"]
    size = CheckpointSpec.from_pretrained(tiny).vocab_size
    suppressed = read(tmp_path / "vllm/generation_config.json")["suppress_tokens"]
    assert suppressed == list(range(size, rows))


def test_a_damaged_checkpoint_is_refused(tiny: Path, export: Export, tmp_path: Path) -> None:
    export(tiny, tmp_path / "first")  # writes a manifest
    source = copy(tiny, tmp_path / "lamm")
    manifest = {"files": {"model.safetensors": {"bytes": 1, "sha256": "0" * 64}}}
    (source / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the digest is .* has 0000"):
        export(source, tmp_path / "llava")
    (source / "model.safetensors").unlink()
    (source / "provenance.json").write_text('{"digest": "x"}')
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing, but manifest"):
        export(source, tmp_path / "llava")
    assert not (tmp_path / "llava").exists()


def test_missing_and_unknown_weights_are_listed(tiny: Path, export: Export, tmp_path: Path) -> None:
    source = copy(tiny, tmp_path / "lamm")
    weights = load_file(source / "model.safetensors")
    del weights["image_projector.bias"]
    weights["stranger"] = torch.zeros(1)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"(?s)1 missing:.*image_projector.bias.*stranger"):
        export(source, tmp_path / "llava")


def test_values_beyond_the_dtype_are_refused(tiny: Path, export: Export, tmp_path: Path) -> None:
    source = copy(tiny, tmp_path / "lamm")
    weights = load_file(source / "model.safetensors")
    weights["image_projector.bias"][0] = 1e6
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"linear_1\.bias is not finite in torch.float16"):
        export(source, tmp_path / "llava", dtype="float16")
    assert not (tmp_path / "llava").exists()


def test_an_adapter_of_another_base_is_refused(
    tiny_adapter: Path, export: Export, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "other", _deeper)
    with pytest.raises(CheckpointError, match="trained on the base with digest"):
        export(tmp_path / "other", tmp_path / "llava", adapter=tiny_adapter)


def test_the_adapter_s_licence_is_told(
    tiny: Path, tiny_adapter: Path, export: Export, tmp_path: Path
) -> None:
    export(tiny, tmp_path / "llava", adapter=tiny_adapter)
    assert "of the adapter" in (tmp_path / "llava/README.md").read_text()
    assert read(tmp_path / "llava/provenance.json")["source"]["adapter"]["licence"]


def test_a_tokenizer_that_has_the_placeholder_is_refused(
    tiny: Path, export: Export, tmp_path: Path
) -> None:
    source = copy(tiny, tmp_path / "lamm")
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_special_tokens(["<image>"])
    tokenizer.save(str(source / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"has a token <image> with id \d+"):
        export(source, tmp_path / "llava")


def test_a_picture_that_patches_do_not_cover_is_refused(export: Export, tmp_path: Path) -> None:
    def uneven(config: Any) -> Any:
        config.vision_config.patch_size = 9
        return config

    write_tiny(tmp_path / "lamm", uneven)
    with pytest.raises(CheckpointError, match=r"image size is 28, not a multiple of .* size 9"):
        export(tmp_path / "lamm", tmp_path / "llava")


def test_an_existing_directory_is_replaced_only_on_demand(
    tiny: Path, export: Export, tmp_path: Path
) -> None:
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava/mine.txt").touch()
    with pytest.raises(FileExistsError, match="llava already exists"):
        export(tiny, tmp_path / "llava")
    export(tiny, tmp_path / "llava", replace=True)
    assert not (tmp_path / "llava/mine.txt").exists()
    source = copy(tiny, tmp_path / "lamm")
    with pytest.raises(CheckpointError, match="contains the input"):
        export(source, source, replace=True)
    assert (source / "model.safetensors").exists()


def test_an_interrupted_export_resumes(
    tiny: Path, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards are finished one by one; what was finished is not written again."""
    export(tiny, tmp_path / "whole", max_shard_bytes=100_000)
    written: list[str] = []
    original: Callable[..., Any] = shards._write

    def failing(path: Path, *rest: Any) -> Any:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        return original(path, *rest)

    monkeypatch.setattr(shards, "_write", failing)
    with pytest.raises(KeyboardInterrupt):
        export(tiny, tmp_path / "llava", max_shard_bytes=100_000)
    assert not (tmp_path / "llava").exists()
    again: list[str] = []

    def counting(path: Path, *rest: Any) -> Any:
        again.append(path.name)
        return original(path, *rest)

    monkeypatch.setattr(shards, "_write", counting)
    result = export(tiny, tmp_path / "llava", max_shard_bytes=100_000)
    assert len(again) > 2
    assert not set(again) & set(written)
    assert result.digest == weights_digest(tmp_path / "llava") == weights_digest(tmp_path / "whole")


def _without(config: Any, part: str) -> Any:
    setattr(config, part, None)
    return config


def _deeper(config: Any) -> Any:
    config.text_config.num_hidden_layers = 3
    return config
